"""A small tokenizer for a text tower that is trained from scratch."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from transformers import PreTrainedTokenizerFast

BEGIN, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"
WORD = r"[\p{L}\p{N}]+(?:[-'][\p{L}\p{N}]+)*"  # "t-shirt" is one word; punctuation says nothing about a person


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A lower-casing word tokenizer of the most frequent words, with begin and end tokens as CLIP's has them.

    Words and not byte pairs: the byte-pair trainer breaks ties at random, so that two runs of one seed, or a run and
    its resumption, would not read the same ids (tokenizers 0.23).

    Args:
        captions: the training captions, and no others. vocab_size: entries at most, the three special ones included.

    Raises:
        ValueError: one text in the place of captions, whose words would be its letters; no room for a single word.
    """
    if isinstance(captions, str):
        raise ValueError(f"captions={captions!r:.80}: expected several texts, such as a list.")
    if vocab_size < 4:
        raise ValueError(f"vocab_size={vocab_size} (tokenizer_vocab_size): expected more than the 3 special tokens.")
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    trainer = WordLevelTrainer(vocab_size=vocab_size, special_tokens=[BEGIN, END, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (BEGIN, END)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "attention_mask"],
    )
