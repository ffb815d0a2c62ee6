"""An edit of a foreign source applies wholly or says that it does not fit."""

import runpy
from pathlib import Path

import pytest

EDITS = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "minkowski_edits.py"))
Edit, edits = EDITS["Edit"], EDITS["edits"]


def test_an_edit_replaces_what_it_found_as_often_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old, old")
    Edit("file", "old", "new", count=2).apply(tmp_path)
    assert (tmp_path / "file").read_text() == "new, new"


@pytest.mark.parametrize("text", ["", "old old"])
def test_an_edit_that_does_not_fit_ends_the_build_and_changes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(SystemExit, match="does not fit"):
        Edit("file", "old", "new").apply(tmp_path)
    assert (tmp_path / "file").read_text() == text


def test_each_build_has_the_edits_of_the_one_before_it() -> None:
    cpu, cuda_12, cuda_13 = (set(edits(cuda)) for cuda in (None, 12, 13))
    assert cpu < cuda_12 < cuda_13
