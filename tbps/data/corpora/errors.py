"""What goes wrong with a corpus."""


class CorpusError(ValueError):
    """A corpus is not as expected; the message names the file and the entry or shard at fault."""
