"""A run's history holds what came of it, and nothing that was undone."""

from pathlib import Path

from calvaria.training.history import append, cut_back


def test_a_history_begins_with_its_columns_and_has_no_quality_where_none_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    cut_back(path, 0)
    append(path, 250, 0.53125, None)
    append(path, 300, 0.5, 0.75)
    assert path.read_text() == "step,loss,quality\n250,0.53125,\n300,0.5,0.75\n"


def test_rows_beyond_a_step_and_those_cut_short_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("step,loss,quality\n500,0.5,\n1000,0.4,0.7\n1250,0.3,\n15")
    cut_back(path, 1000)
    assert path.read_text() == "step,loss,quality\n500,0.5,\n1000,0.4,0.7\n"
    cut_back(path, 0)
    assert path.read_text() == "step,loss,quality\n"
