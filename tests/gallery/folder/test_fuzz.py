"""500 random changes to the files of a gallery: the answers stay the same, or an error names the file."""

import sys

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by what /proc says")
def test_a_changed_gallery_gives_the_same_answers_or_a_named_error():
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
    assert {name for name, outcome in became if outcome == "named"} == names, "each kind is detected"
