"""A gallery whose files were changed in some way, 500 times: the same answers, or a named error."""

import sys

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by what /proc says")
def test_whatever_is_changed_in_a_gallery_it_answers_as_before_or_says_what_is_wrong():
    from fuzz_gallery import is_right, run, tally

    results = run(500, seed=7, repairs=5)
    print(tally(results))
    assert len(results) == 500
    assert [result for result in results if not is_right(result)] == []
    became = {(name, outcome) for _, name, outcome, _ in results}
    names = {name for name, _ in became}
    assert names == {
        "flip",
        "cut",
        "grow",
        "swap",
        "delete",
        "duplicate",
        "blank",
        "special",
        "digit",
        "field",
        "arrow",
        "faiss",
    }
    assert {name for name, outcome in became if outcome == "named"} == names, "each kind does harm"
