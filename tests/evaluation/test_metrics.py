"""Retrieval metrics against answers worked by hand, closed forms and an independent slow loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.evaluation.metrics import RetrievalMetrics, retrieval_metrics

KEYS = ["rank_1", "rank_5", "rank_10", "mAP", "mINP"]


def metrics_of(scores, query_person_ids, gallery_person_ids, ranks=(1, 5, 10)):
    metrics = RetrievalMetrics(torch.as_tensor(gallery_person_ids), ranks)
    metrics.update(torch.as_tensor(scores, dtype=torch.float32), torch.as_tensor(query_person_ids))
    return metrics.compute()


def slow_metrics(scores, query_person_ids, gallery_person_ids, ranks=(1, 5, 10)):
    """The definition in a slow loop: sort by score, and put other people first among equals."""
    first, average_precision, inverse_penalty = [], [], []
    for row, person in zip(scores, query_person_ids, strict=True):
        order = sorted(range(len(row)), key=lambda g: (-row[g], gallery_person_ids[g] == person))
        positions = [rank for rank, g in enumerate(order, start=1) if gallery_person_ids[g] == person]
        first.append(positions[0])
        average_precision.append(np.mean([j / rank for j, rank in enumerate(positions, start=1)]))
        inverse_penalty.append(len(positions) / positions[-1])
    result = {f"rank_{k}": float(np.mean([rank <= k for rank in first])) for k in ranks}
    return {**result, "mAP": float(np.mean(average_precision)), "mINP": float(np.mean(inverse_penalty))}


@st.composite
def retrieval_problems(draw):
    """Draw scores with many ties; every query has a match in the gallery."""
    gallery_person_ids = draw(st.lists(st.integers(0, 4), min_size=1, max_size=14))
    query_person_ids = draw(st.lists(st.sampled_from(gallery_person_ids), min_size=1, max_size=6))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    size = len(query_person_ids) * len(gallery_person_ids)
    values = draw(st.lists(st.integers(-levels, levels), min_size=size, max_size=size))
    return (
        np.array(values, dtype=np.float32).reshape(len(query_person_ids), -1) / 8,
        query_person_ids,
        gallery_person_ids,
    )


def test_literal_matrix():
    gallery_person_ids = [7, 7, 8, 8, 9, 7]
    scores = [
        [0.9, 0.1, 0.8, 0.2, 0.3, 0.7],  # person 7 at ranks 1, 3, 6: AP (1 + 2/3 + 3/6) / 3, INP 3/6
        [0.5, 0.6, 0.4, 0.9, 0.8, 0.7],  # person 8 at ranks 1, 6: AP (1 + 2/6) / 2, INP 2/6
        [0.6, 0.5, 0.4, 0.3, 0.1, 0.2],  # person 9 at rank 6: AP 1/6, INP 1/6
        [0.5, 0.5, 0.5, 0.9, 0.1, 0.2],  # person 7: 8 is first, ties with 8 behind it: ranks 3, 4, 5
    ]
    result = metrics_of(scores, [7, 8, 9, 7], gallery_person_ids, ranks=(1, 3, 5))
    average_precisions = [13 / 18, 2 / 3, 1 / 6, (1 / 3 + 2 / 4 + 3 / 5) / 3]
    assert result["rank_1"] == 2 / 4
    assert result["rank_3"] == 3 / 4
    assert result["rank_5"] == 3 / 4
    assert result["mAP"] == pytest.approx(sum(average_precisions) / 4)
    assert result["mINP"] == pytest.approx((3 / 6 + 2 / 6 + 1 / 6 + 3 / 5) / 4)


@pytest.mark.parametrize("few_matches", [0, 2, 32], ids=["by sorting", "by either", "by passes"])
@settings(max_examples=80, deadline=None)
@given(problem=retrieval_problems())
def test_equals_the_slow_loop(few_matches, problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tbps.evaluation.metrics.FEW_MATCHES", few_matches)
        assert metrics_of(*problem) == pytest.approx(slow_metrics(*problem))


@settings(max_examples=50, deadline=None)
@given(retrieval_problems(), st.randoms(use_true_random=False))
def test_gallery_order_never_matters(problem, random):
    scores, query_person_ids, gallery_person_ids = problem
    order = random.sample(range(len(gallery_person_ids)), len(gallery_person_ids))
    assert metrics_of(scores[:, order], query_person_ids, [gallery_person_ids[g] for g in order]) == metrics_of(
        *problem
    )


@pytest.mark.parametrize("rank", [1, 2, 5, 6, 10, 11, 20])
def test_single_match_at_a_rank(rank):
    scores = torch.linspace(1, 0, 20)[None]
    gallery_person_ids = torch.zeros(20, dtype=torch.long)
    gallery_person_ids[rank - 1] = 1
    result = metrics_of(scores, [1], gallery_person_ids)
    assert result == {
        **{f"rank_{k}": float(rank <= k) for k in (1, 5, 10)},
        "mAP": pytest.approx(1 / rank),
        "mINP": pytest.approx(1 / rank),
    }
    assert list(result) == KEYS


def test_one_score_for_all_gives_the_worst_ranks():
    result = metrics_of(torch.zeros(1, 12), [3], [3, 3, *range(10, 20)])
    assert result["rank_10"] == 0.0
    assert result["mAP"] == pytest.approx((1 / 11 + 2 / 12) / 2)
    assert result["mINP"] == pytest.approx(2 / 12)


def test_a_gallery_of_one_person_is_perfect():
    assert metrics_of(torch.zeros(2, 3), [5, 5], [5, 5, 5]) == dict.fromkeys(KEYS, 1.0)


def embedding_problem(num_queries=23, num_images=17, dim=6):
    """Integer embeddings, whose products are exact, so chunking cannot change a rank by rounding."""
    generator = torch.Generator().manual_seed(0)
    query_embeds = torch.randint(-3, 4, (num_queries, dim), generator=generator).float()
    gallery_embeds = torch.randint(-3, 4, (num_images, dim), generator=generator).float()
    gallery_person_ids = torch.arange(num_images) % 5
    return query_embeds, gallery_embeds, torch.arange(num_queries) % 5, gallery_person_ids


@pytest.mark.parametrize("max_elements", [1, 17, 50, 23 * 17])
def test_chunks_equal_the_whole_and_bound_memory(monkeypatch, max_elements):
    problem = embedding_problem()
    sizes = []
    update = RetrievalMetrics.update

    def recording_update(self, scores, query_person_ids):
        sizes.append(scores.shape[0])
        update(self, scores, query_person_ids)

    monkeypatch.setattr(RetrievalMetrics, "update", recording_update)
    chunked = retrieval_metrics(*problem, max_elements=max_elements)
    assert sum(sizes) == 23
    assert max(sizes) == max(1, max_elements // 17)
    query_embeds, gallery_embeds, query_person_ids, gallery_person_ids = problem
    assert chunked == metrics_of(query_embeds @ gallery_embeds.T, query_person_ids, gallery_person_ids)


def test_half_precision_embeddings_are_scored_in_float32():
    query_embeds = torch.tensor([[1.0, 0.00390625]], dtype=torch.bfloat16)
    gallery_embeds = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.bfloat16)  # 1.0039 rounds to 1 in bfloat16
    result = retrieval_metrics(query_embeds, gallery_embeds, torch.tensor([1]), torch.tensor([1, 2]))
    assert result["rank_1"] == 1.0


def test_scores_may_be_a_transposed_view():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.7]])
    assert metrics_of(scores.T, [0, 1], [0, 1]) == metrics_of(scores.T.contiguous(), [0, 1], [0, 1])


def test_embeddings_with_gradient_are_accepted():
    embeds = torch.eye(3, requires_grad=True)
    assert retrieval_metrics(embeds, embeds, torch.arange(3), torch.arange(3))["mAP"] == 1.0


def test_queries_without_a_match_are_named_by_position_over_all_chunks():
    metrics = RetrievalMetrics(torch.tensor([1, 2]))
    metrics.update(torch.zeros(2, 2), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"2 of 3 queries have no image .*query 2 \(person 8\), query 4 \(person 9\)"):
        metrics.update(torch.zeros(3, 2), torch.tensor([8, 1, 9]))
    assert metrics.compute()["mINP"] == 0.5  # the refused chunk left no trace


def test_only_the_first_unmatched_queries_are_named():
    with pytest.raises(ValueError, match=r"7 of 7 .*query 4 \(person 14\), \.\.\."):
        metrics_of(torch.zeros(7, 1), range(10, 17), [1])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float64])
def test_large_scores_that_differ_by_little_are_no_ties(dtype):
    metrics = RetrievalMetrics(torch.tensor([0, 1]))
    metrics.update(torch.tensor([[2**24, 2**24 + 1]]).to(dtype), torch.tensor([1]))
    assert metrics.compute()["rank_1"] == 1


@pytest.mark.parametrize("queries", [1, 2, 5])
@pytest.mark.parametrize("images", [5, 17, 1003])
@pytest.mark.parametrize("width", [48, 500, 1024])
def test_equal_embeddings_are_ties_however_many_are_asked_for(queries, images, width):
    """A model that gives all images one vector gets the worst ranks."""
    torch.manual_seed(queries + images + width)
    asked, same = torch.randn(queries, width), torch.randn(1, width)
    ids = torch.arange(images)
    found = retrieval_metrics(asked, same.repeat(images, 1), ids[:queries], ids)
    assert found["rank_1"] == 0
    assert found["mAP"] == pytest.approx(1 / images)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_scores_that_are_not_finite(value):
    scores = torch.zeros(3, 2)
    scores[1, 1] = float(value)
    with pytest.raises(ValueError, match=f"1 of 3 queries .*query 1: {value} at gallery image 1"):
        metrics_of(scores, [0, 0, 0], [0, 1])


def test_shapes_that_disagree():
    with pytest.raises(ValueError, match=r"shape \(2, 3\): expected \(queries, gallery\) = \(2, 4\)"):
        metrics_of(torch.zeros(2, 3), [0, 1], [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"gallery_embeds has shape \(2, 3\) and gallery_person_ids \(3,\)"):
        retrieval_metrics(torch.zeros(1, 3), torch.zeros(2, 3), torch.zeros(1).long(), torch.zeros(3).long())
    with pytest.raises(ValueError, match="width 3 and gallery_embeds 4"):
        retrieval_metrics(torch.zeros(1, 3), torch.zeros(1, 4), torch.zeros(1).long(), torch.zeros(1).long())


def test_ids_that_are_not_integers():
    with pytest.raises(ValueError, match=r"gallery_person_ids is torch.float32 of shape \(2,\)"):
        RetrievalMetrics(torch.tensor([0.0, 1.0]))


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="gallery_person_ids is empty"):
        RetrievalMetrics(torch.tensor([], dtype=torch.long))
    metrics = RetrievalMetrics(torch.tensor([1]))
    metrics.update(torch.zeros(0, 1), torch.tensor([], dtype=torch.long))
    with pytest.raises(ValueError, match="no queries"):
        metrics.compute()
    with pytest.raises(ValueError, match="ranks count from 1"):
        RetrievalMetrics(torch.tensor([1]), ranks=(0, 1))
