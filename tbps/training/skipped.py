"""Training samples that could not be read and were skipped: counted over all processes, and logged."""

from typing import Any

from accelerate.utils import gather_object
from transformers.utils import logging

logger = logging.get_logger(__name__)

NAMED = 10  # files of those skipped that are named


def skipped_everywhere(own: list[str]) -> dict[str, Any]:
    """What a log says of the files that each process skipped, nothing where there are none; all processes call this.

    Returns:
        skipped_samples: their number. skipped_files: the first of them.
    """
    skipped = gather_object(own)
    if not skipped:
        return {}
    names = list(dict.fromkeys(skipped))[:NAMED]
    logger.warning(f"{len(skipped)} training samples could not be read and were skipped: {', '.join(names)}")
    return {"skipped_samples": len(skipped), "skipped_files": names}
