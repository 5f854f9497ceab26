"""A small word tokenizer for a text tower that is trained from scratch."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from transformers import PreTrainedTokenizerFast

BEGIN, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"
WORD = r"[\p{L}\p{N}]+(?:[-'][\p{L}\p{N}]+)*"  # "t-shirt" is one word; punctuation does not describe a person


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a lower-casing tokenizer of the most frequent words, with begin and end tokens like CLIP's.

    It uses words, not byte pairs: the byte-pair trainer breaks ties at random, so two runs of one seed, or a run and
    its resumption, would get different ids (tokenizers 0.23).

    Args:
        captions: the training captions only. vocab_size: the largest number of entries, with the 3 special tokens.

    Raises:
        ValueError: `captions` is one string, whose letters would become the words; or `vocab_size` leaves no room for
            a word.
    """
    if isinstance(captions, str):
        raise ValueError(f"captions must be several texts, such as a list, got the string {captions!r:.80}.")
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
