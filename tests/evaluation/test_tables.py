from math import inf

import pytest

from calvaria.evaluation.records import Row
from calvaria.evaluation.scoring import Figure
from calvaria.evaluation.tables import differences, summary

FIGURES = Figure("dice", "DSC", better="more"), Figure("hd95_mm", "HD95", "median", 1, better="less"), Figure("volume", "cm³")


def rows(method: str, *figures: tuple[float, float]) -> list[Row]:
    return [
        Row(f"case {i}", f"skull {i}", "", method, figures={"dice": dice, "hd95_mm": hd95, "volume": 1.0})
        for i, (dice, hd95) in enumerate(figures)
    ]


def test_the_strongest_baseline_is_found_for_every_figure_by_whether_more_or_less_of_it_is_better() -> None:
    all_rows = rows("M", (0.9, 3), (0.8, 5)) + rows("one", (0.7, 9), (0.7, 9)) + rows("other", (0.6, 2), (0.6, 4))
    of_dice, of_hd95 = differences(all_rows, FIGURES, "M")
    assert of_dice.startswith("DSC, M less one (the strongest baseline), case by case: +0.150 (")
    assert of_hd95.startswith("HD95, M less other (the strongest baseline), case by case: +1.0 (")
    assert "2 cases" in of_dice


def test_answers_that_are_both_missing_do_not_differ() -> None:
    all_rows = rows("M", (0.0, inf), (0.0, inf), (0.5, 1.0)) + rows("one", (0.0, inf), (0.0, inf), (0.5, 1.0))
    (_, of_hd95) = differences(all_rows, FIGURES, "M")
    assert ": +0.0 (+0.0 to +0.0, 3 cases)" in of_hd95


def test_what_failed_is_no_skull_of_a_summary() -> None:
    failed = [Row("case 1", "skull 1", "", "M", error="truncated")]
    assert "of 1 cases of one skull" in str(summary(rows("M", (0.9, 3)) + failed, FIGURES, "title").caption)
    assert "of 1 cases of one skull" in str(summary(failed, FIGURES, "title").caption)


def test_a_share_has_the_interval_of_its_skulls() -> None:
    figure = Figure("found", "found", "count")
    cases = [Row(f"case {i}", f"skull {i // 10}", "", "M", figures={"found": 0.0}) for i in range(40)]
    table = summary(cases, [figure], "title")
    assert list(table.columns[2].cells) == ["0 of 40\n0.0–60.2 %"]
    assert "shares: exact intervals where none or all." in str(table.caption)
    assert list(summary(cases[:20], [figure], "title").columns[2].cells) == ["0 of 20"], "of two skulls an interval says nothing"


def test_means_are_of_the_cases_that_all_have_answered() -> None:
    """A model that refuses the hardest case is no better for it."""
    refused = [*rows("M", (0.9, 3), (0.8, 5)), Row("case 2", "skull 2", "", "M", error="empty-mask")]
    table = summary(refused + rows("one", (0.7, 9), (0.7, 9), (0.1, 90)), FIGURES, "title", "mask")
    assert list(table.columns[1].cells) == ["2\n1 failed", "2"]
    assert list(table.columns[2].cells) == ["0.850", "0.700"]
    assert str(table.caption) == "Means (HD95: medians) of 2 masks: too few for intervals."


@pytest.mark.parametrize("left_out", ["M", "one"])
def test_without_both_there_is_nothing_to_compare(left_out: str) -> None:
    both = rows("M", (0.9, 3)) + rows("one", (0.7, 9))
    assert differences([row for row in both if row.method != left_out], FIGURES, "M") == []
