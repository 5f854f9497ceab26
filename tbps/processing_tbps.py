"""Sentences and person crops in, tensors out: what a [`TBPSModel`] reads."""

from typing import Any

from transformers import AutoConfig, AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ImageInput, PILImageResampling
from transformers.utils import logging

from .configuration_tbps import as_pair
from .text_length_tbps import check_text_length

logger = logging.get_logger(__name__)


class TBPSImageProcessor(PilBackend):
    """Resizes a person crop to (height, width) whatever its aspect ratio, as the field does, and normalises it.

    Works with Pillow alone. Bilinear with antialiasing and CLIP's mean and deviation, like IRRA and its descendants.
    """

    resample = PILImageResampling.BILINEAR
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    size = {"height": 384, "width": 128}  # noqa: RUF012 - transformers reads these as class attributes
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True


class TBPSProcessor(ProcessorMixin):
    """An image processor and a tokenizer; `processor(text=[...], images=[...], padding=True, return_tensors="pt")`
    gives `input_ids`, `attention_mask` (B, L) and `pixel_values` (B, 3, H, W).

    A sentence longer than the tokenizer's `model_max_length` is cut, its end token kept, and counted in a warning.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str,
        text: str | None = None,
        image_size: tuple[int, int] | None = None,
        text_length: int | None = None,
    ) -> "TBPSProcessor":
        """The processor of `TBPSModel.from_vision_text_pretrained` with the same arguments.

        The tokenizer is the text tower's, cut at `text_length` tokens or else at the positions that the tower has;
        pictures are resized to (H, W) by ours and normalised by the mean and deviation of the vision tower's own
        processor (CLIP's where it has none).

        Raises:
            OSError: no tokenizer or no configuration at one of the checkpoints.
            ValueError: more tokens than a text tower other than CLIP's has positions.
        """
        config = AutoConfig.from_pretrained(vision)
        height, width = as_pair(image_size or getattr(config, "vision_config", config).image_size)
        text_config = AutoConfig.from_pretrained(text or vision).get_text_config()
        check_text_length(text_length, text_config, text or vision)
        tokenizer = limited(AutoTokenizer.from_pretrained(text or vision), text_config.max_position_embeddings)
        tokenizer.model_max_length = text_length or tokenizer.model_max_length
        try:
            stored = TBPSImageProcessor.get_image_processor_dict(vision)[0]
        except OSError:
            stored = {}
        normalisation = {name: stored[name] for name in ("image_mean", "image_std") if name in stored}
        image_processor = TBPSImageProcessor(size={"height": height, "width": width}, **normalisation)
        return cls(image_processor, tokenizer)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare either modality or both.

        Raises:
            ValueError: neither images nor text; a sentence that is empty or blank (its position is named).
        """
        if images is None and text is None:
            raise ValueError("TBPSProcessor got neither images nor text: give sentences, images or both.")
        sentences = [text] if isinstance(text, str) else text
        if sentences is not None:
            check_sentences(sentences)
            kwargs.setdefault("truncation", True)
            cut = self.count_truncated(sentences, kwargs.get("max_length"))
            if cut:
                logger.warning(f"{cut} of {len(sentences)} sentences are too long and were cut; the end token is kept.")
        return super().__call__(images=images, text=text, **kwargs)

    def count_truncated(self, sentences: list[str], max_length: int | None = None) -> int:
        """How many sentences have more tokens, special ones included, than `max_length` (None: the tokenizer's)."""
        limit = max_length or self.tokenizer.model_max_length
        # a token has at least one character: most sentences need no tokenizing to be known as short
        long = [sentence for sentence in sentences if len(sentence) > limit - 2]
        if not long:
            return 0
        return sum(len(ids) > limit for ids in self.tokenizer(long, verbose=False)["input_ids"])


def limited(tokenizer: Any, positions: int) -> Any:
    """The tokenizer, whose sentences have at most as many tokens as a text tower has positions. It may know of fewer:
    RoBERTa's family counts them from its padding id on."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def check_sentences(sentences: list[str]) -> None:
    """Refuse sentences that describe nobody.

    Raises:
        ValueError: names the first position whose sentence is empty, blank or has no letter or digit.
    """
    for position, sentence in enumerate(sentences):
        if isinstance(sentence, str) and not any(map(str.isalnum, sentence)):
            raise ValueError(
                f"Sentence {position} of {len(sentences)} is {sentence!r}: expected words that describe a person."
            )


__all__ = ["TBPSImageProcessor", "TBPSProcessor"]
