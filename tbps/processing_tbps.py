"""Sentences and person crops in, tensors out: what a [`TBPSModel`] reads."""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoConfig, AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    ImageInput,
    PILImageResampling,
    infer_channel_dimension_format,
)
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import is_torch_tensor, logging

from .configuration_tbps import as_pair
from .files_tbps import check_checkpoint, check_source, report_damage
from .images_tbps import BadImageError, array_image, fetch_image, image_source, names_image
from .tower_weights_tbps import check_text_length

logger = logging.get_logger(__name__)

UNCUT = (False, None, "do_not_truncate", TruncationStrategy.DO_NOT_TRUNCATE)  # values of a tokenizer's `truncation`
ADDED = 4  # tokens at most that a tokenizer adds to a sentence


class TBPSImageProcessor(PilBackend):
    """Resizes a person crop to (height, width) whatever its aspect ratio, as the field does, and normalises it.

    Works with Pillow alone. Bilinear with antialiasing and CLIP's mean and deviation, like IRRA and its descendants.

    Pictures of every kind become RGB as `open_image` makes them: turned upright, transparency laid on white. Taken are
    PIL images, paths, bytes, file objects, http(s) and `data:` addresses, cells of undecoded data sets, and arrays or
    tensors (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels: uint8, or floats in 0 to 255, or with
    `do_rescale=False` in [0, 1]. One after the other is opened, resized and let go.
    """

    resample = PILImageResampling.BILINEAR
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    size = {"height": 384, "width": 128}  # noqa: RUF012 - transformers reads these as class attributes
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    def fetch_images(self, images: Any) -> Any:
        """The images as they were given: `process_image` opens each when its turn comes."""
        return images

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """An image of any kind -> (3, H, W), uint8, or float32 in [0, 1] where it was an array of such.

        Raises:
            BadImageError: it cannot be read. ValueError: values that are no pixels, or of another range than
                `do_rescale` says; another mode than RGB with `do_convert_rgb=False`.
        """
        unit = kwargs.get("do_rescale") is False
        pixels = as_array(image)
        floats = pixels is not None and pixels.dtype.kind == "f"
        if unit and not floats and kwargs.get("do_normalize") and max(kwargs["image_mean"]) <= 1:
            raise ValueError(
                "do_rescale=False says that pixels are floats in [0, 1], and these are bytes: leave it out, or give "
                "do_normalize=False too."
            )
        if do_convert_rgb is False and getattr(image, "mode", "RGB") != "RGB":
            raise ValueError(f"do_convert_rgb=False and an image of mode {image.mode}: the model reads RGB only.")
        if pixels is None:
            picture = fetch_image(image_source(image))
        else:
            last = channels_last(pixels, input_data_format)
            if do_convert_rgb is False and pixels.dtype == np.uint8 and pixels.shape[-1 if last else 0] == 4:
                return super().process_image(pixels, do_convert_rgb, input_data_format)  # four channels are wanted
            picture = array_image(pixels, last, unit)
        found = np.moveaxis(np.asarray(picture), -1, 0)
        return self.rescale(found, 1 / 255) if unit and floats else found

    def resize(self, image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        """As of bytes for floats in [0, 1] too, which Transformers would cut to bytes without rounding."""
        if image.dtype.kind != "f":
            return super().resize(image, *args, **kwargs)
        return self.rescale(super().resize(np.round(image * 255).astype(np.uint8), *args, **kwargs), 1 / 255)

    def shrink(self, picture: Image.Image) -> Image.Image:
        """An RGB picture in the size that it is resized to anyway: preparing it then gives the same numbers, and many
        can wait for their turn in little memory."""
        height, width = self.size.get("height"), self.size.get("width")
        if not (self.do_resize and height and width):
            return picture
        return picture.resize((width, height), PILImageResampling.BILINEAR if self.resample is None else self.resample)

    def _prepare_image_like_inputs(self, images: Any, *args: Any, expected_ndims: int = 3, **kwargs: Any) -> Any:
        return self._opened(images, kwargs)

    def _opened(self, images: Any, settings: dict[str, Any]) -> Iterator[np.ndarray]:
        """One image after the other, so that memory does not grow with their number."""
        position = -1
        for position, image in enumerate(one_by_one(images)):
            try:
                yield self.process_image(image, **settings)
            except (TypeError, ValueError) as error:
                kind = next(kind for kind in (BadImageError, TypeError, ValueError) if isinstance(error, kind))
                raise kind(f"Image {position}: {error}") from error
        if position < 0:
            raise ValueError("The image processor got no images: give at least one.")


class TBPSProcessor(ProcessorMixin):
    """An image processor and a tokenizer; `processor(text=[...], images=[...], padding=True, return_tensors="pt")`
    gives `input_ids`, `attention_mask` (B, L) and `pixel_values` (B, 3, H, W).

    A sentence longer than the tokenizer's `model_max_length` is cut, its end token kept, and counted in a warning.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """`ProcessorMixin.from_pretrained`, of a folder or a Hub id.

        Raises:
            ValueError: it is a file, or what it holds is damaged. OSError: there is no processor.
        """
        source = pretrained_model_name_or_path
        check_source(source)
        with report_damage(f"The processor of {source}"):
            return super().from_pretrained(source, *args, **kwargs)

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
        for checkpoint in (vision, text or vision):
            check_checkpoint(checkpoint)
        with report_damage(f"The processor of {vision if text is None else f'{vision} and {text}'}"):
            return cls._of_towers(vision, text, image_size, text_length)

    @classmethod
    def _of_towers(
        cls, vision: str, text: str | None, image_size: tuple[int, int] | None, text_length: int | None
    ) -> "TBPSProcessor":
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
            ValueError: neither images nor text; a sentence that is no text, empty or blank (its position is named).
        """
        if images is None and text is None:
            raise ValueError("TBPSProcessor got neither images nor text: give sentences, images or both.")
        if text is not None:
            given = {**kwargs.get("common_kwargs", {}), **kwargs.get("text_kwargs", {}), **kwargs}
            sentences = as_sentences(text)
            check_sentences(sentences)
            if "truncation" not in given:
                given["truncation"] = kwargs["truncation"] = True
            if given["truncation"] not in UNCUT:
                self.warn_of_cuts(sentences, given)
            text = text if isinstance(text, str) else sentences
        return super().__call__(images=images, text=text, **kwargs)

    def warn_of_cuts(self, sentences: list[str], given: dict[str, Any]) -> None:
        """Say how many sentences the tokenizer will cut with the settings that it is given."""
        special = given.get("add_special_tokens", True)
        cut = self.count_truncated(sentences, given.get("max_length"), special)
        if cut:
            logger.warning(f"{cut} of {len(sentences)} sentences are too long and were cut; the end token is kept.")

    def count_truncated(self, sentences: list[str], max_length: int | None = None, special: bool = True) -> int:
        """How many sentences have more tokens, `special` ones included, than `max_length` (None: the tokenizer's)."""
        limit = self.tokenizer.model_max_length if max_length is None else max_length
        # a token has at least one ASCII letter: most sentences need no tokenizing to be known as short; others may be
        # of several tokens a letter
        long = [sentence for sentence in sentences if not sentence.isascii() or len(sentence) > limit - ADDED]
        if not long:
            return 0
        found = self.tokenizer(long, add_special_tokens=special, verbose=False)["input_ids"]
        return sum(len(ids) > limit for ids in found)


def one_by_one(images: Any) -> Iterator[Any]:
    """The single images of one, of lists within lists, of anything else that gives one after the other, or of arrays
    (B, ...)."""
    pixels = as_array(images)
    if pixels is not None and pixels.ndim > 3:
        yield from (one for part in pixels for one in one_by_one(part))
    elif pixels is not None or isinstance(images, str | bytes | dict | Image.Image) or hasattr(images, "read"):
        yield images
    elif isinstance(images, Iterable):
        yield from (one for part in images for one in one_by_one(part))
    else:
        yield images


def as_array(image: Any) -> np.ndarray | None:
    """An array or a tensor as an array; None for anything else."""
    if not is_torch_tensor(image):
        return image if isinstance(image, np.ndarray) else None
    plain = image.detach().cpu()
    return np.asarray(plain.float() if plain.is_floating_point() else plain)  # NumPy has no bfloat16


def channels_last(pixels: np.ndarray, stated: str | ChannelDimension | None) -> bool:
    """Whether an image's channels are its last dimension.

    Raises:
        ValueError: neither its first nor its last dimension is of 1, 3 or 4.
    """
    if pixels.ndim == 2:
        return False
    if pixels.ndim != 3:
        raise ValueError(f"an array of shape {pixels.shape}: expected (H, W), (H, W, C) or (C, H, W).")
    found = infer_channel_dimension_format(pixels, num_channels=(1, 3, 4)) if stated is None else stated
    return ChannelDimension(found) == ChannelDimension.LAST


def limited(tokenizer: Any, positions: int) -> Any:
    """The tokenizer, whose sentences have at most as many tokens as a text tower has positions. It may know of fewer:
    RoBERTa's family counts them from its padding id on."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def as_sentences(text: Any) -> list[Any]:
    """One sentence or several, as a list.

    Raises:
        ValueError: something else, or none.
    """
    if isinstance(text, str):
        return [text]
    if not isinstance(text, Iterable) or isinstance(text, bytes | Mapping | Set):  # sets have no order
        raise ValueError(f"text is a {type(text).__name__}, {text!r:.80}: expected a sentence, or a list of them.")
    sentences = list(text)
    if not sentences:
        raise ValueError("text holds no sentence: give at least one.")
    return sentences


def check_sentences(sentences: list[Any]) -> None:
    """Refuse sentences that describe nobody.

    Raises:
        ValueError: names the first position whose sentence is no text, empty, blank, has no letter or digit or is
            the name or the address of an image.
    """
    for position, sentence in enumerate(sentences):
        where = f"Sentence {position} of {len(sentences)} is"
        if not isinstance(sentence, str):
            raise ValueError(f"{where} a {type(sentence).__name__}, {sentence!r:.80}: expected a text.")
        if not any(map(str.isalnum, sentence)):
            raise ValueError(f"{where} {sentence!r:.80}: expected words that describe a person.")
        if names_image(sentence):
            raise ValueError(
                f"{where} {sentence!r:.400}, the name of an image, and would be read as words. Give the image as one: "
                "Path(...) to Gallery.search, --image to `tbps search`, images= to the processor and the pipeline."
            )


__all__ = ["TBPSImageProcessor", "TBPSProcessor"]
