"""One habit of Transformers that models outside it must switch off, or start from the wrong weights."""


class WhollyInitialised:
    """Mixin of every model class here: random weights as `_init_weights` asks for them, in every module.

    Transformers 5.23 takes a module that has no parameter of its own (a layer, an attention) for initialised where the
    class is not its own, to spare weights that foreign code would draw again: what `_init_weights` says of that module
    is never done. Ours, and the towers' own, draw no weight again.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        """False, though it is."""
        return False
