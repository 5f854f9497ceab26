"""The error of a gallery that cannot be used as it is."""

from tbps.printable_tbps import printable


class GalleryError(ValueError):
    """A gallery is damaged, busy, empty or another model's; the message names it and says what to do.

    What it quotes of a stranger's gallery is spelt out where it would steer a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
