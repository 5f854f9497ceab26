"""The pipeline "text-based-person-search": it ranks images of people for each query."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, Pipeline

from .images_tbps import fetch_image
from .processing_tbps import as_texts, check_texts


class TextBasedPersonSearchPipeline(Pipeline):
    """
    Ranks images of people by how well they match a query.

    Make one with `pipeline("text-based-person-search", model=...)`.

    A score is the inner product of two retrieval vectors, so it splits into a global score and a score of each part.
    With w = `config.part_weight`, a_k the query's weight of part k (1/K if the model does not weight parts) and cos the
    cosine of two embeddings, `global_score` = (1 - w) cos(global), `part_scores[k]` = w a_k cos(part k), and
    `score` = `global_score` + `part_scores[0]` + ... + `part_scores[K-1]`.

    To search the same images many times, use `tbps.Gallery`, which keeps their vectors on disk.

    Args:
        model: a `TBPSModel`, which is put in evaluation mode.
        processor: its `TBPSProcessor`.
        batch_size: images or queries to embed at once; a call may override it.
        top_k, timeout: defaults of calls, see `__call__`.

    Raises:
        ValueError: another kind of model, no processor, or `top_k` below 1.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, processor: Any = None, batch_size: int = 32, **kwargs: Any) -> None:
        if model.config.model_type != "tbps":
            raise ValueError(
                f"Text-based person search got a {type(model).__name__} (model_type {model.config.model_type!r}): "
                "expected a TBPSModel. TBPSModel.from_vision_text_pretrained builds one from two towers."
            )
        if processor is None:
            raise ValueError(
                "Text-based person search got no processor. Give the TBPSProcessor that was saved with the model."
            )
        super().__init__(model=model.eval(), processor=processor, batch_size=batch_size, **kwargs)

    def __call__(
        self, images: Any, text: str | Sequence[str], **kwargs: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """
        Search `images` for each query. Each image is embedded once, however many queries there are.

        Args:
            images: a PIL image, a path, a URL, a base64 string or the bytes of a file, or a sequence of them. They are
                opened as everywhere in tbps: RGB, upright, transparency on white.
            text: one query, or a sequence of queries.
            top_k: images to return per query, 10 by default; fewer if there are fewer images.
            batch_size, num_workers: as in every pipeline.
            timeout: seconds to wait for a URL.

        Returns:
            The hits of one query, or a list of hits for each of several. The best hit is first; of equal scores, the
            image given first. A hit is `{"score", "global_score", "part_scores" (K numbers), "index" in images}`, and
            has `path` if the image was given by one.

        Raises:
            ValueError: no images or queries, an image that cannot be opened, a query without words, `top_k` below 1.
            TypeError: a query is not a string, or `top_k` is not an integer.
        """
        sources = [images] if isinstance(images, str) or not isinstance(images, Sequence) else list(images)
        if not sources:
            raise ValueError("Text-based person search got no images. Give at least one to search.")
        queries = text if isinstance(text, str) else self._as_list(text)
        check_texts(as_texts(queries))  # before the images are embedded
        vectors = super().__call__([{"image": image, "index": i} for i, image in enumerate(sources)], **kwargs)
        return super().__call__(queries, gallery=torch.stack(vectors), sources=sources, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model, the processor and their code, which `trust_remote_code=True` runs elsewhere."""
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
                raise TypeError(f"top_k={top_k!r}: expected an integer.")
            if top_k < 1:
                raise ValueError(f"top_k={top_k}: expected 1 or more images per query.")
            postprocess["top_k"] = top_k
        return preprocess, {}, postprocess

    def preprocess(self, inputs: str | dict[str, Any], timeout: float | None = None) -> BatchFeature:
        """Prepare a query, or an image given as {"image": source, "index": position}, for the model."""
        if isinstance(inputs, str):
            return self.processor(text=inputs, padding=True, return_tensors="pt")
        source = inputs["image"]
        try:
            image = fetch_image(source, timeout)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Image {inputs['index']}, {source!r:.200}, cannot be opened ({str(error)[:200]}): expected a PIL "
                "image, or the path or URL of an image."
            ) from error
        return self.processor(images=image, return_tensors="pt").to(self.dtype)

    def _forward(self, inputs: Any) -> dict[str, torch.Tensor]:
        """Embed images or queries: {"embeds": (B, E)}."""
        embed = self.model.get_image_features if "pixel_values" in inputs else self.model.get_text_features
        return {"embeds": embed(**inputs).pooler_output}

    def postprocess(
        self,
        outputs: dict[str, torch.Tensor],
        gallery: torch.Tensor | None = None,
        sources: Sequence[Any] = (),
        top_k: int = 10,
    ) -> torch.Tensor | list[dict[str, Any]]:
        """Return the retrieval vector (E,) of an image, or the hits of a query in `gallery` (N, E)."""
        vector = outputs["embeds"][0].float()
        if gallery is None:
            return vector
        products = gallery.double() * vector.double()  # (N, E); summing each row alone gives equal images equal scores
        scores = products.sum(dim=1)
        if not scores.isfinite().all():
            raise ValueError(
                "An embedding is not finite. Look for NaN in the model's weights, or overflow in its dtype."
            )
        order = scores.argsort(descending=True, stable=True)[:top_k]
        return [self._hit(products[i], i, sources[i]) for i in order.tolist()]

    def _hit(self, products: torch.Tensor, index: int, source: Any) -> dict[str, Any]:
        """Describe one hit. `products` (E,) are those of two retrieval vectors, which sum to the score."""
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
    def _as_list(queries: Sequence[str]) -> list[str]:
        """Return several queries as a list.

        Raises:
            ValueError: there are none.
            TypeError: they are not a sequence, or one is not a string.
        """
        if not isinstance(queries, Sequence):
            raise TypeError(f"text={queries!r}: expected a query or a sequence of queries.")
        listed = list(queries)
        if not listed:
            raise ValueError("Text-based person search got no queries. Give at least one.")
        for position, query in enumerate(listed):
            if not isinstance(query, str):
                raise TypeError(f"Text {position} of {len(listed)} is {query!r}: expected a string.")
        return listed


__all__ = ["TextBasedPersonSearchPipeline"]
