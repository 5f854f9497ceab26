"""The `evaluate` metric loads offline and equals the package's own metrics."""

import socket
import sys

import evaluate
import pytest
import torch
from repository import ROOT

from tbps.evaluation.metrics import retrieval_metrics

SCRIPT_FOLDER = ROOT / "metrics" / "text_person_retrieval"


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    cache = tmp_path_factory.mktemp("evaluate")

    def no_network(*_):
        raise AssertionError("the metric asked for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", cache / "modules")
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(socket.socket, "connect", no_network)
        yield evaluate.load(str(SCRIPT_FOLDER), cache_dir=str(cache / "metrics"))


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    return {
        "predictions": torch.randn(7, 4, generator=generator),
        "references": torch.arange(7) % 3,
        "gallery_embeddings": torch.randn(5, 4, generator=generator),
        "gallery_person_ids": torch.arange(5) % 3,
    }


def expected(problem):
    return retrieval_metrics(
        problem["predictions"], problem["gallery_embeddings"], problem["references"], problem["gallery_person_ids"]
    )


@pytest.mark.parametrize("convert", [torch.clone, torch.Tensor.numpy, torch.Tensor.tolist])
def test_equals_the_package(metric, problem, convert):
    assert metric.compute(**{name: convert(value) for name, value in problem.items()}) == expected(problem)


def test_batch_by_batch(metric, problem):
    predictions, references = problem.pop("predictions"), problem.pop("references")
    for rows in (slice(0, 3), slice(3, 7)):
        metric.add_batch(predictions=predictions[rows], references=references[rows])
    result = metric.compute(**problem)
    assert result == expected({"predictions": predictions, "references": references, **problem})


def test_errors_of_the_package_reach_the_user(metric, problem):
    problem["gallery_person_ids"] = torch.full((5,), 9)
    with pytest.raises(ValueError, match=r"7 of 7 queries have no image .*query 0 \(person 0\)"):
        metric.compute(**problem)
