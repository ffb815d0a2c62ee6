"""Pictures of skulls side by side: a row each, the same way up and at one scale, whatever the grid."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calvaria.datasets.likeness_picture import CAPTION, FOOT, HEADING, PIXELS_PER_MM, VIEWS, sheet
from calvaria.io import write
from calvaria.synthetic import make_skull, mould, symmetrise
from calvaria.volume import BinaryVolume

TOOL = Path(__file__).parents[2] / "tools" / "likeness.py"

LIT = 70
"""Brightness between the background's and the bone's."""


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(3, 4.0)


def hollow_ball(radius_mm: float) -> BinaryVolume:
    x, y, z = np.indices((64, 64, 64)) * 2.0 - 63
    radius = np.sqrt(x * x + y * y + z * z)
    return BinaryVolume.on_grid((radius < radius_mm) & (radius > 0.6 * radius_mm), (2.0, 2.0, 2.0))


def drilled(skull: BinaryVolume) -> BinaryVolume:
    """With a hole through the left of the vault, in the coronal slice."""
    occupied = np.argwhere(skull.mask)
    x, y, z = np.indices(skull.shape) - ((occupied.min(axis=0) + occupied.max(axis=0)) // 2).reshape(3, 1, 1, 1)
    below_top = np.ptp(occupied[:, 2]) / 2 - z
    return skull.like(skull.mask & ~((x > 0) & (np.hypot(y, below_top - 10) < 5)))


def tiles(picture: Image.Image) -> list[list[np.ndarray]]:
    """The views of a sheet, row by row: brightness [down, across]. Names and the scale stay in the left half."""
    light = np.asarray(picture.convert("L")).astype(int)[HEADING:]
    tops = [top for top, _ in runs(light[:, light.shape[1] // 2 :].max(axis=1) > LIT)]
    ends = [*(top - CAPTION for top in tops[1:]), len(light) - FOOT]
    rows = [light[top:end] for top, end in zip(tops, ends, strict=True)]
    return [[row[:, left:right] for left, right in runs(row.max(axis=0) > LIT)] for row in rows]


def runs(lit: np.ndarray) -> list[tuple[int, int]]:
    """Where the runs of True in a line begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lit, [False]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def emptiest_quarter(tile: np.ndarray) -> str:
    ((top, bottom),) = runs(tile.max(axis=1) > LIT)
    upper, lower = np.array_split(tile[top:bottom], 2)
    quarters = {
        f"{row} {side}": part
        for row, half in (("upper", upper), ("lower", lower))
        for side, part in zip(("left", "right"), np.array_split(half, 2, axis=1), strict=True)
    }
    return min(quarters, key=lambda name: quarters[name].mean())


def test_all_views_of_all_skulls_have_one_scale() -> None:
    """Every view of a ball is a disc: the axial slice of the small one, 60 mm below its top, lies 20 mm from its middle."""
    small, large = tiles(sheet({"small": hollow_ball(40), "large": hollow_ball(60)}))
    for row, diameters_mm in ((small, [2 * np.sqrt(40**2 - 20**2), 80, 80, 80, 80]), (large, [120] * len(VIEWS))):
        assert [tile.shape[1] / PIXELS_PER_MM for tile in row] == pytest.approx(diameters_mm, abs=3)
        assert [(tile.max(axis=1) > LIT).sum() / PIXELS_PER_MM for tile in row] == pytest.approx(diameters_mm, abs=3)


def test_every_view_is_the_right_way_up() -> None:
    """Of one block the left, anterior, superior corner is missing; of the other all that is anterior and superior."""
    x, y, z = np.indices((20, 20, 20))
    blocks = (x > 8) & (y < 11) & (z > 6), (y < 11) & (z > 6)
    corner, edge = tiles(sheet({str(place): BinaryVolume.on_grid(~missing, (5.0, 5.0, 5.0)) for place, missing in enumerate(blocks)}))
    assert [emptiest_quarter(tile) for tile in corner[:3]] == ["upper right", "upper right", "upper left"]
    assert emptiest_quarter(edge[-1]) == "upper left"


def test_only_the_row_of_the_skull_that_differs_differs(skull: BinaryVolume) -> None:
    (given, other), (holed, same) = (tiles(sheet({"given": one, "generated": skull})) for one in (skull, drilled(skull)))
    for a, b in zip(given, other, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(other, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [np.array_equal(a, b) for a, b in zip(given, holed, strict=True)][1:] == [False, True, False, False]


def test_the_order_and_direction_of_axes_do_not_show(skull: BinaryVolume) -> None:
    far_end = np.eye(4)
    far_end[1, 1], far_end[1, 3] = -1, skull.shape[1] - 1
    turned = BinaryVolume(skull.mask[:, ::-1].transpose(2, 0, 1), (skull.affine @ far_end)[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(*(np.asarray(sheet({"skull": one})) for one in (skull, turned)))


def run() -> None:
    runpy.run_path(str(TOOL), run_name="__main__")


def test_the_command_draws_the_given_skull_and_the_first_generated_ones(
    skull: BinaryVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "skull.nrrd", skull)
    monkeypatch.setattr("calvaria.synthetic.make_skull", lambda seed, spacing_mm: skull if seed == 3 else drilled(skull))
    monkeypatch.setattr("calvaria.datasets.likeness.measurements", lambda skull: {"voxels": skull.occupied})
    words = ["likeness", tmp_path / "skull.nrrd", "--skulls", 6, "--seed", 3, "--picture", tmp_path / "sheet.png"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    run()
    given, first, *others = tiles(Image.open(tmp_path / "sheet.png"))
    assert len(others) == 4
    np.testing.assert_array_equal(given[1], first[1])
    assert not any(np.array_equal(given[1], other[1]) for other in others)


def test_generated_skulls_may_be_changed_as_training_changes_them(
    skull: BinaryVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "skull.nrrd", skull)
    measured: list[int] = []
    monkeypatch.setattr("calvaria.synthetic.make_skull", lambda seed, spacing_mm: skull)
    monkeypatch.setattr("calvaria.datasets.likeness.measurements", lambda one: measured.append(one.occupied) or {"voxels": 0.0})
    for more in ([], ["--changed"]):
        monkeypatch.setattr("sys.argv", ["likeness", str(tmp_path / "skull.nrrd"), "--skulls", "1", "--seed", "3", *more])
        run()
    changed = mould(symmetrise(skull, 3), 3).occupied
    assert sorted(measured) == sorted([skull.occupied, skull.occupied, skull.occupied, changed])
    assert changed != skull.occupied


def test_a_picture_of_another_format_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["likeness", "none.nrrd", "--picture", "sheet.jpg"])
    with pytest.raises(SystemExit):
        run()
