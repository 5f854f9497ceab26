"""The error of a gallery that cannot be used as it is."""


class GalleryError(ValueError):
    """A gallery is damaged, busy, empty or another model's; the message names it and says what to do."""
