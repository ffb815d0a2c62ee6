"""The test of super-resolution, with a stand-in for the model that answers by plain interpolation."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.cubes import Resolutions
from calvaria.evaluation.evaluate import MODEL, Evaluation
from calvaria.evaluation.interpolation import linear
from calvaria.evaluation.metrics import SurfaceDistances, dice, reconstruction_error
from calvaria.evaluation.records import Record
from calvaria.evaluation.scoring import Drawn, Outputs
from calvaria.evaluation.super_resolution import GRIDS, ROWS, SKULLS, generated, of_whole
from calvaria.synthetic.seeds import EVALUATION
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume


def stand_in(given: BinaryVolume, extras: Extras) -> Outputs:
    return {"fine": linear(given, extras)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the same make on smaller grids."""
    monkeypatch.setitem(ROWS, "64-128", Resolutions(64, 32))
    monkeypatch.setitem(GRIDS, "64-128", Resolutions(64, 32))
    monkeypatch.setitem(GRIDS, "slices-128", Resolutions(64, None))


def test_the_rows_are_the_papers_with_more_beside_them() -> None:
    assert list(ROWS) == ["64-128", "64-256", "64-512", "128-256"]
    for name, row in ROWS.items():
        assert name == f"{row.coarse}-{row.fine}"
        assert row.method == "mean"
        assert GRIDS[f"{name}-nearest"] == replace(row, method="nearest")
    assert [GRIDS[f"slices-{count}"].coarse for count in (128, 256, 512)] == [None] * 3


def test_every_head_is_in_every_row_and_planning_makes_nothing() -> None:
    cases = generated(Drawn(range(50)))
    assert len({case.name for case in cases}) == len(cases) == 200
    assert [case.kind for case in cases[:4]] == list(ROWS)
    assert len({case.skull for case in cases}) == 50
    with pytest.raises(CalvariaError, match="trained on"):
        generated(Drawn(range(EVALUATION.stop, EVALUATION.stop + 1)))


def test_a_kind_that_is_named_twice_is_one() -> None:
    twice = Drawn(range(2), ("64-128", "64-128"))
    assert len(generated(twice)) == 2
    assert len(of_whole(BinaryVolume.on_grid(np.ones((4, 4, 4), np.bool_), (0.5, 0.5, 0.5)), "file", twice)) == 2


def test_a_file_is_asked_only_what_its_voxels_support() -> None:
    skull = BinaryVolume.on_grid(np.ones((40, 40, 40), bool), (2.0, 2.0, 2.0))
    cases = of_whole(skull, "mine", Drawn(range(2)))
    assert [case.kind for case in cases] == ["64-128"] * 2
    assert {case.skull for case in cases} == {"mine"}
    for kinds, volume, code in (
        (("64-256",), skull, ErrorCode.BAD_OPTION),
        ((), skull.like(~skull.mask), ErrorCode.EMPTY_MASK),
    ):
        with pytest.raises(CalvariaError) as refusal:
            of_whole(volume, "mine", Drawn(range(2), kinds))
        assert refusal.value.code is code


@pytest.mark.usefixtures("small")
def test_figures_are_the_metrics_of_the_fine_mask() -> None:
    (planned,) = generated(Drawn(range(1), ("64-128",)))
    case = planned.make()
    outputs = stand_in(case.given, case.extras)
    made, truth, spacing_mm = outputs["fine"].mask, case.truth.mask, case.truth.spacing_mm
    scores = SKULLS.score(case, outputs)
    assert scores["dice"] == dice(made, truth)
    between = SurfaceDistances.between(made, truth, spacing_mm)
    assert (scores["hd95_mm"], scores["nsd_1mm"]) == (between.percentile(95), between.within(1.0))
    assert scores["error_percent"] == reconstruction_error(made, truth)
    assert set(scores) == {figure.name for figure in SKULLS.figures}
    with pytest.raises(ValueError, match="grid"):
        SKULLS.score(case, {"fine": case.given})


@pytest.mark.usefixtures("small")
def test_each_row_has_a_summary_and_the_model_is_compared_in_every_figure(tmp_path: Path) -> None:
    cases = generated(Drawn(range(2), ("64-128", "slices-128")))
    record = Record(tmp_path / "fine.csv", tuple(figure.name for figure in SKULLS.figures), {})
    run = Evaluation(SKULLS, {MODEL: stand_in} | dict(SKULLS.baselines), record)
    assert run.report(cases, "two heads", Console(file=(tmp_path / "shown.txt").open("w"))) == 0
    rows = list(csv.DictReader((tmp_path / "fine.csv").open()))
    assert len(rows) == 2 * 2 * 4
    by_method = {method: [row["dice"] for row in rows if row["method"] == method] for method in (MODEL, "linear")}
    assert by_method[MODEL] == by_method["linear"]
    text = (tmp_path / "fine.txt").read_text()
    assert "two heads, 64-128" in text
    assert "two heads, slices-128" in text
    for heading in ("DSC", "HD95 mm", "NSD 1 mm", "error %"):
        assert text.count(f"{heading}, {MODEL} less") == 2
    assert "medians" not in text
    assert (tmp_path / "fine.png").exists()
    assert len(list((tmp_path / "fine-pictures").iterdir())) == 4
