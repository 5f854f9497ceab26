"""Two processes (gloo) compute the same as one: every loss and gradient, the pairs of an epoch, the evaluation."""

import json
from typing import Any

import pytest
from distributed_checks import CASES
from repository import torchrun


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("distributed")
    torchrun("distributed_checks.py", folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["world"] == 2
    return result


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_those_of_one_process(found: dict[str, Any], case: str) -> None:
    losses = found["losses"][case]
    assert losses["shared"] == pytest.approx(losses["alone"], rel=1e-5)
    assert losses["largest"] > 1e-4
    assert losses["worst"] < 1e-5 * losses["largest"]
    assert losses["missing"] == 0


def test_processes_share_an_epoch_without_overlap(found: dict[str, Any]) -> None:
    first, second = found["seen"]
    for epoch in range(2):
        assert len(first[epoch]) == len(second[epoch]) == 12  # 28 pairs: three whole batches of 2 x 4
        assert len({*first[epoch], *second[epoch]}) == 24
    assert first[0] != first[1]  # another order in the next epoch
    missed = set(range(28)) - {*first[0], *second[0]}
    assert len(missed) == 4  # the incomplete global batch is dropped


@pytest.mark.parametrize("batch_size", ["1", "3", "4", "64"])
def test_evaluation_equals_that_of_one_process(found: dict[str, Any], batch_size: str) -> None:
    evaluation = found["evaluation"][batch_size]
    assert evaluation["equal"]
    assert evaluation["spread"] == evaluation["alone"]  # to the last bit
    assert evaluation["image_to_image"] == 1  # each image finds itself
