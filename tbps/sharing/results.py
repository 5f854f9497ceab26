"""What `train_hf.py` wrote of a run, where it speaks of the model that is shared."""

import json
from pathlib import Path
from typing import Any

from tbps.sharing.errors import SharingError

RESULTS = "results.json"


def read_results(folder: Path, fingerprint: str) -> dict[str, Any]:
    """`results.json` of a run; empty where there is none, as a card then states nothing.

    Args:
        folder: of the run. fingerprint: `tbps.fingerprint.identify` of the model that is shared.

    Raises:
        SharingError: it is broken, or tells of another model: the card would state what was not measured.
    """
    path = folder / RESULTS
    if not path.is_file():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SharingError(f"{path} is no JSON ({error}): evaluate again, or delete it to share no results.") from error
    measured = results.get("model_fingerprint") if isinstance(results, dict) else None
    if measured != fingerprint:
        raise SharingError(
            f"{path} tells of a model with fingerprint {measured}, the one to share has {fingerprint}: evaluate again "
            "by train_hf.py, or delete it (and README.md, which states it) to share no results."
        )
    return results
