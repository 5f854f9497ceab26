"""Which tokens of a text tower are no words."""

from collections.abc import Collection

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")  # in configurations and in tokenizers


def special_tokens(
    checkpoint: str, text_config: PreTrainedConfig, given: list[int] | None, stated: Collection[str] = ()
) -> list[int] | None:
    """Which ids the parts must not look at: those of the checkpoint's own tokenizer, also set in `text_config`, as
    configurations name few of them (BERT's) or wrong ones (SigLIP's; CLIP's end token, where its vocabulary grew).

    Args:
        given: ids that were chosen, which then count. stated: names of settings of `text_config` that were chosen,
            which stay as they are.
    Returns:
        the field `special_token_ids`; None where there is no tokenizer and the configuration names them itself.

    Raises:
        ValueError: no tokenizer, and a configuration that names neither an end nor a separator; ids that are given and
            not in the vocabulary.
    """
    tokenizer = find_tokenizer(checkpoint)
    for name in NAMES:
        if tokenizer is not None and name not in stated and getattr(tokenizer, name) is not None:
            setattr(text_config, name, getattr(tokenizer, name))
    if given is not None:
        if outside := [token for token in given if not 0 <= token < text_config.vocab_size]:
            raise ValueError(
                f"special_token_ids={given}: {outside} are not in the vocabulary of {text_config.vocab_size} tokens."
            )
        return given
    if tokenizer is not None:
        chosen = {token for name in NAMES if name in stated and isinstance(token := getattr(text_config, name), int)}
        return sorted((set(tokenizer.all_special_ids) | chosen) - {tokenizer.unk_token_id})
    named = (getattr(text_config, f"{name}_token_id", None) for name in ("eos", "sep"))
    if not any(isinstance(token, int) and token < text_config.vocab_size for token in named):
        raise ValueError(
            f"{checkpoint} has no tokenizer that names special tokens, and neither does its configuration; the parts "
            "must not look at them: save the tokenizer there, or give special_token_ids=[...] (begin, end, padding)."
        )
    return None


def find_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase | None:
    """The checkpoint's tokenizer, if it has one that names special tokens: where it has none Transformers makes some of
    special tokens alone, and a vocabulary alone names none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError):
        return None
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return tokenizer if special and len(tokenizer) > len(tokenizer.all_special_ids) else None
