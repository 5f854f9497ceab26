"""The processor of a [`TBPSModel`]: texts and images of people in, tensors out."""

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
from .images_tbps import BadImageError, array_image, fetch_image, image_source, is_image_address
from .tower_weights_tbps import check_text_length

logger = logging.get_logger(__name__)

NO_TRUNCATION = (False, None, "do_not_truncate", TruncationStrategy.DO_NOT_TRUNCATE)  # of a tokenizer's `truncation`
MAX_ADDED = 4  # tokens that a tokenizer may add to a text


class TBPSImageProcessor(PilBackend):
    """Resizes an image of a person to (height, width), whatever its aspect ratio, and normalises it.

    It needs Pillow only. The defaults, bilinear with antialiasing and CLIP's mean and deviation, are those of IRRA and
    its descendants.

    Images of every kind become RGB as in `open_image`: turned upright, transparency on white. An image may be a PIL
    image, a path, bytes, a file object, an http(s) or `data:` address, a cell of an undecoded data set, or an array or
    tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels: uint8, floats in 0 to 255, or with `do_rescale=False`
    floats in [0, 1]. Images are opened, resized and released one after the other.
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
        """Return the images unchanged: `process_image` opens each one when its turn comes."""
        return images

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Convert an image of any kind to (3, H, W): uint8, or float32 in [0, 1] if it is an array of such floats.

        Raises:
            BadImageError: the image cannot be read.
            ValueError: the values are not pixels, or not in the range that `do_rescale` says; or another mode than RGB
                with `do_convert_rgb=False`.
        """
        unit = kwargs.get("do_rescale") is False
        pixels = as_array(image)
        floats = pixels is not None and pixels.dtype.kind == "f"
        if unit and not floats and kwargs.get("do_normalize") and max(kwargs["image_mean"]) <= 1:
            raise ValueError(
                "do_rescale=False means floats in [0, 1], but these pixels are bytes. Leave it out, or give "
                "do_normalize=False too."
            )
        if do_convert_rgb is False and getattr(image, "mode", "RGB") != "RGB":
            raise ValueError(f"do_convert_rgb=False, but the image has mode {image.mode}: the model reads RGB only.")
        if pixels is None:
            opened = fetch_image(image_source(image))
        else:
            last = channels_last(pixels, input_data_format)
            if do_convert_rgb is False and pixels.dtype == np.uint8 and pixels.shape[-1 if last else 0] == 4:
                return super().process_image(
                    pixels, do_convert_rgb, input_data_format
                )  # the caller wants four channels
            opened = array_image(pixels, last, unit)
        found = np.moveaxis(np.asarray(opened), -1, 0)
        return self.rescale(found, 1 / 255) if unit and floats else found

    def resize(self, image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        """Resize floats in [0, 1] as if they were bytes; Transformers would convert them to bytes without rounding."""
        if image.dtype.kind != "f":
            return super().resize(image, *args, **kwargs)
        return self.rescale(super().resize(np.round(image * 255).astype(np.uint8), *args, **kwargs), 1 / 255)

    def shrink(self, image: Image.Image) -> Image.Image:
        """Resize an RGB image to the final size early, so that many can wait in little memory.

        Preparing the result gives the same numbers as preparing the original.
        """
        height, width = self.size.get("height"), self.size.get("width")
        if not (self.do_resize and height and width):
            return image
        return image.resize((width, height), PILImageResampling.BILINEAR if self.resample is None else self.resample)

    def _prepare_image_like_inputs(self, images: Any, *args: Any, expected_ndims: int = 3, **kwargs: Any) -> Any:
        return self._opened(images, kwargs)

    def _opened(self, images: Any, settings: dict[str, Any]) -> Iterator[np.ndarray]:
        """Open one image after the other, so that memory does not grow with their number."""
        position = -1
        for position, image in enumerate(one_by_one(images)):
            try:
                yield self.process_image(image, **settings)
            except (TypeError, ValueError) as error:
                kind = next(kind for kind in (BadImageError, TypeError, ValueError) if isinstance(error, kind))
                raise kind(f"Image {position}: {error}") from error
        if position < 0:
            raise ValueError("The image processor got no images. Give at least one.")


class TBPSProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    `processor(text=[...], images=[...], padding=True, return_tensors="pt")` gives `input_ids` and `attention_mask`
    (B, L), and `pixel_values` (B, 3, H, W). A text longer than the tokenizer's `model_max_length` is cut, and its end
    token stays. A warning counts such texts.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a processor from a folder or a Hub id, as `ProcessorMixin.from_pretrained` does.

        Raises:
            ValueError: it is a file, or its files are damaged.
            OSError: there is no processor.
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
        """Build the processor of `TBPSModel.from_vision_text_pretrained` from the same arguments.

        The tokenizer is the text tower's. It cuts texts at `text_length` tokens, or else at the tower's positions.
        Images are resized to (H, W), and normalised by the mean and deviation of the vision tower's own processor
        (CLIP's if it has none).

        Raises:
            OSError: a checkpoint has no tokenizer or no configuration.
            ValueError: a text tower other than CLIP's has fewer positions than `text_length`.
        """
        for checkpoint in (vision, text or vision):
            check_checkpoint(checkpoint)
        with report_damage(f"The processor of {vision if text is None else f'{vision} and {text}'}"):
            return cls._from_towers(vision, text, image_size, text_length)

    @classmethod
    def _from_towers(
        cls, vision: str, text: str | None, image_size: tuple[int, int] | None, text_length: int | None
    ) -> "TBPSProcessor":
        config = AutoConfig.from_pretrained(vision)
        height, width = as_pair(image_size or getattr(config, "vision_config", config).image_size)
        text_config = AutoConfig.from_pretrained(text or vision).get_text_config()
        check_text_length(text_length, text_config, text or vision)
        tokenizer = cap_length(AutoTokenizer.from_pretrained(text or vision), text_config.max_position_embeddings)
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
            ValueError: neither images nor text is given; or a text is not a string, is blank, has no letter or digit,
                or is the address of an image (the message has its position).
        """
        if images is None and text is None:
            raise ValueError("TBPSProcessor got neither images nor text. Give texts, images or both.")
        if text is not None:
            given = {**kwargs.get("common_kwargs", {}), **kwargs.get("text_kwargs", {}), **kwargs}
            texts = as_texts(text)
            check_texts(texts)
            if "truncation" not in given:
                given["truncation"] = kwargs["truncation"] = True
            if given["truncation"] not in NO_TRUNCATION:
                self.warn_of_cuts(texts, given)
            text = text if isinstance(text, str) else texts
        return super().__call__(images=images, text=text, **kwargs)

    def warn_of_cuts(self, texts: list[str], given: dict[str, Any]) -> None:
        """Warn of texts that the tokenizer will cut, given the settings of the call."""
        special = given.get("add_special_tokens", True)
        cut = self.count_truncated(texts, given.get("max_length"), special)
        if cut:
            logger.warning(f"{cut} of {len(texts)} texts are too long and were cut; the end token is kept.")

    def count_truncated(self, texts: list[str], max_length: int | None = None, special: bool = True) -> int:
        """Count the texts with more tokens than `max_length` (None: the tokenizer's limit).

        Args:
            special: count special tokens too.
        """
        limit = self.tokenizer.model_max_length if max_length is None else max_length
        # In ASCII, a token has at least one letter, so most texts are short enough without a look at their tokens. In
        # other scripts a letter may take several tokens.
        long = [text for text in texts if not text.isascii() or len(text) > limit - MAX_ADDED]
        if not long:
            return 0
        found = self.tokenizer(long, add_special_tokens=special, verbose=False)["input_ids"]
        return sum(len(ids) > limit for ids in found)


def one_by_one(images: Any) -> Iterator[Any]:
    """Iterate over single images in nested lists, other iterables and arrays (B, ...); one image gives itself."""
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
    """Return an array or a tensor as an array; None for anything else."""
    if not is_torch_tensor(image):
        return image if isinstance(image, np.ndarray) else None
    plain = image.detach().cpu()
    return np.asarray(plain.float() if plain.is_floating_point() else plain)  # NumPy has no bfloat16


def channels_last(pixels: np.ndarray, given: str | ChannelDimension | None) -> bool:
    """Tell whether an image's channels are its last dimension.

    Args:
        given: the answer, if the caller knows it.

    Raises:
        ValueError: neither the first nor the last dimension is 1, 3 or 4.
    """
    if pixels.ndim == 2:
        return False
    if pixels.ndim != 3:
        raise ValueError(f"an array of shape {pixels.shape}: expected (H, W), (H, W, C) or (C, H, W).")
    found = infer_channel_dimension_format(pixels, num_channels=(1, 3, 4)) if given is None else given
    return ChannelDimension(found) == ChannelDimension.LAST


def cap_length(tokenizer: Any, positions: int) -> Any:
    """Limit a tokenizer to the positions of a text tower, and return it.

    Its own limit may be lower: RoBERTa's family counts positions from its padding id on.
    """
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def as_texts(text: Any) -> list[Any]:
    """Return one text or several as a list.

    Raises:
        ValueError: it is something else, or empty.
    """
    if isinstance(text, str):
        return [text]
    if not isinstance(text, Iterable) or isinstance(text, bytes | Mapping | Set):  # a set has no order
        raise ValueError(f"text must be a string or a list of strings, got {type(text).__name__} {text!r:.80}.")
    texts = list(text)
    if not texts:
        raise ValueError("text is an empty list. Give at least one text.")
    return texts


def check_texts(texts: list[Any]) -> None:
    """Refuse texts that describe nobody.

    Raises:
        ValueError: a text is not a string, has no letter or digit, or is the path or address of an image. The message
            has the first such position.
    """
    for position, text in enumerate(texts):
        where = f"Text {position} of {len(texts)} is"
        if not isinstance(text, str):
            raise ValueError(f"{where} a {type(text).__name__}, {text!r:.80}: expected a string.")
        if not any(map(str.isalnum, text)):
            raise ValueError(f"{where} {text!r:.80}: expected words that describe a person.")
        if is_image_address(text):
            raise ValueError(
                f"{where} {text!r:.400}, the address of an image, and would be read as words. To give an image, use "
                "Path(...) in Gallery.search, --image in `tbps search`, and images= in the processor and the pipeline."
            )


__all__ = ["TBPSImageProcessor", "TBPSProcessor"]
