"""A gallery belongs to one model: vectors of two must never be compared."""

from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError


def check_model(where: str, made_by: ModelIdentity, opened_with: ModelIdentity) -> None:
    """
    Refuse a model whose vectors are not those of the gallery.

    Args:
        where: the gallery's folder or address, for the message.

    Raises:
        GalleryError: the fingerprints or the widths differ.
    """
    if made_by.fingerprint != opened_with.fingerprint or made_by.embedding_dim != opened_with.embedding_dim:
        raise GalleryError(
            f"The gallery {where} was made with {made_by} and is opened with {opened_with}: weights, part_weight "
            "or the image processor differ, so the scores would mean nothing. Open it with the model that made it, or "
            "add the images to a new gallery in another place."
        )
