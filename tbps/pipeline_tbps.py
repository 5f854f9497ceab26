"""The pipeline "text-based-person-search": images and sentences in, out come the images that fit each sentence best."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, Pipeline

from .images_tbps import fetch_image
from .processing_tbps import as_sentences, check_sentences


class TextBasedPersonSearchPipeline(Pipeline):
    """
    Ranks images of people by how well they fit a sentence; `pipeline("text-based-person-search", model=...)` makes one.

    A score is the inner product of two retrieval vectors, and so a sum of shares. With w = `config.part_weight`, a_k
    the sentence's weight of part k (1/K where the model does not weigh parts) and cos the cosine of two embeddings,
    `global_score` = (1 - w) cos(global), `part_scores[k]` = w a_k cos(part k) and
    `score` = `global_score` + `part_scores[0]` + ... + `part_scores[K-1]`.

    For images that are searched again and again, `tbps.Gallery` keeps their vectors on disk.

    Args:
        model: a `TBPSModel`; it is put in evaluation mode. processor: its `TBPSProcessor`.
        batch_size: images or sentences that are embedded at once, where a call does not say otherwise.
        top_k, timeout: defaults of the calls, see `__call__`.

    Raises:
        ValueError: a model of another kind, no processor, or `top_k` below 1.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, processor: Any = None, batch_size: int = 32, **kwargs: Any) -> None:
        if model.config.model_type != "tbps":
            raise ValueError(
                f"Text-based person search got a {type(model).__name__} (model_type {model.config.model_type!r}): "
                "expected a TBPSModel; TBPSModel.from_vision_text_pretrained makes one of two towers."
            )
        if processor is None:
            raise ValueError("Text-based person search got no processor: give the TBPSProcessor saved with the model.")
        super().__init__(model=model.eval(), processor=processor, batch_size=batch_size, **kwargs)

    def __call__(
        self, images: Any, text: str | Sequence[str], **kwargs: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """
        Search `images` for each sentence; the images are embedded once, however many sentences there are.

        Args:
            images: a PIL image, path, URL or base64 string as `transformers.image_utils.load_image` reads them, the
                bytes of a file, or a sequence of them. They become RGB as everywhere in tbps: turned
                upright, transparency laid on white.
            text: one sentence or a sequence of them.
            top_k: images to return for a sentence, 10 by default; all of them where there are fewer.
            batch_size, num_workers: of this call, as in every pipeline. timeout: seconds to wait for a URL.

        Returns:
            For one sentence its hits, for several a list of hits each; best first, of equal scores the image given
            first. A hit is `{"score", "global_score", "part_scores" (K numbers), "index" in images}`, with the `path`
            where one was given.

        Raises:
            ValueError: no images or sentences, an image that does not open, a sentence without words, top_k below 1.
            TypeError: a sentence that is no string, top_k that is no whole number.
        """
        sources = [images] if isinstance(images, str) or not isinstance(images, Sequence) else list(images)
        if not sources:
            raise ValueError("Text-based person search got no images: give at least one to search in.")
        sentences = text if isinstance(text, str) else self._listed(text)
        check_sentences(as_sentences(sentences))  # before all images are embedded
        vectors = super().__call__([{"image": image, "index": i} for i, image in enumerate(sources)], **kwargs)
        return super().__call__(sentences, gallery=torch.stack(vectors), sources=sources, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Model, processor and the code of both and of this pipeline, for `trust_remote_code=True` elsewhere."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        timeout: float | None = None,
        gallery: torch.Tensor | None = None,
        sources: Sequence[Any] = (),
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        postprocess: dict[str, Any] = {} if gallery is None else {"gallery": gallery, "sources": sources}
        if top_k is not None:
            if not isinstance(top_k, int) or isinstance(top_k, bool):
                raise TypeError(f"top_k={top_k!r}: expected a whole number.")
            if top_k < 1:
                raise ValueError(f"top_k={top_k}: expected 1 or more images to return for a sentence.")
            postprocess["top_k"] = top_k
        return preprocess, {}, postprocess

    def preprocess(self, inputs: str | dict[str, Any], timeout: float | None = None) -> BatchFeature:
        """A sentence, or {"image": source, "index": its place}, as the model reads it."""
        if isinstance(inputs, str):
            return self.processor(text=inputs, padding=True, return_tensors="pt")
        source = inputs["image"]
        try:
            picture = fetch_image(source, timeout)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Image {inputs['index']}, {source!r:.200}, does not open ({str(error)[:200]}): expected a PIL image, "
                "or the path or URL of a picture."
            ) from error
        return self.processor(images=picture, return_tensors="pt").to(self.dtype)

    def _forward(self, inputs: Any) -> dict[str, torch.Tensor]:
        """{"embeds": (B, E)} of images or sentences."""
        embed = self.model.get_image_features if "pixel_values" in inputs else self.model.get_text_features
        return {"embeds": embed(**inputs).pooler_output}

    def postprocess(
        self,
        outputs: dict[str, torch.Tensor],
        gallery: torch.Tensor | None = None,
        sources: Sequence[Any] = (),
        top_k: int = 10,
    ) -> torch.Tensor | list[dict[str, Any]]:
        """The retrieval vector (E,) of an image, or the hits of a sentence among `gallery` (N, E)."""
        vector = outputs["embeds"][0].float()
        if gallery is None:
            return vector
        products = gallery.double() * vector.double()  # (N, E); summed row by row, so equal images score the same
        scores = products.sum(dim=1)
        if not scores.isfinite().all():
            raise ValueError(
                "An embedding is not finite: look for NaN or overflow in the model's weights or its dtype."
            )
        order = scores.argsort(descending=True, stable=True)[:top_k]
        return [self._hit(products[i], i, sources[i]) for i in order.tolist()]

    def _hit(self, products: torch.Tensor, index: int, source: Any) -> dict[str, Any]:
        """What is told of one image; `products` (E,) of two retrieval vectors sum to their score."""
        size = self.model.config.projection_dim
        parts = products[size:].unflatten(0, (self.model.config.num_parts, -1)).sum(dim=1)  # (K,)
        hit = {
            "score": products.sum().item(),
            "global_score": products[:size].sum().item(),
            "part_scores": parts.tolist(),
            "index": index,
        }
        return hit | {"path": os.fspath(source)} if isinstance(source, str | os.PathLike) else hit

    @staticmethod
    def _listed(sentences: Sequence[str]) -> list[str]:
        """Several sentences as a list.

        Raises:
            ValueError: there are none. TypeError: one is no string, or they are no sequence.
        """
        if not isinstance(sentences, Sequence):
            raise TypeError(f"text={sentences!r}: expected a sentence or a sequence of sentences.")
        listed = list(sentences)
        if not listed:
            raise ValueError("Text-based person search got no sentences: give at least one.")
        for position, sentence in enumerate(listed):
            if not isinstance(sentence, str):
                raise TypeError(f"Sentence {position} of {len(listed)} is {sentence!r}: expected a string.")
        return listed


__all__ = ["TextBasedPersonSearchPipeline"]
