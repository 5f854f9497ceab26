"""Untrusted JSON becomes a dataclass only if it matches exactly."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest
from forging import places, replaced

from tbps.data.strict_json import build_dataclass, parse_json


@dataclass(frozen=True)
class Inner:
    number: int
    share: float


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner | None
    many: tuple[Inner, ...]
    named: dict[str, str]


def test_dataclasses_are_built_from_what_fits_them_exactly():
    value = {"kind": "a", "inner": None, "many": [{"number": 1, "share": 2}], "named": {"x": "y"}}
    assert build_dataclass(Outer, parse_json(json.dumps(value).encode())) == Outer(
        "a", None, (Inner(1, 2.0),), {"x": "y"}
    )
    for path in places(value):
        for wrong in (True, b"x", object(), 10**400):
            if path:
                with pytest.raises(ValueError, match="expected"):
                    build_dataclass(Outer, replaced(value, path, wrong))
