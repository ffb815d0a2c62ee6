"""Counts of voxels and sites, and how they grow."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from calvaria.datasets import plot, stats
from calvaria.datasets.stats import Count, Statistics, levels, mean_exponents, measure, sites_by_stride
from calvaria.errors import CalvariaError
from calvaria.io import write
from calvaria.volume import BinaryVolume

SKULL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "seg3d_skull.nrrd"


@pytest.fixture
def solid(tmp_path: Path) -> Path:
    mask = np.zeros((64, 64, 40), np.bool_)
    mask[16:48, 16:48, 8:24] = True
    write(tmp_path / "solid.nrrd", BinaryVolume.on_grid(mask, (1, 1, 1)))
    return tmp_path / "solid.nrrd"


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    mask = np.zeros((128, 128, 128), np.bool_)
    mask[:, :, 37] = True
    write(tmp_path / "sheet.nrrd", BinaryVolume.on_grid(mask, (1, 1, 1)))
    return tmp_path / "sheet.nrrd"


def test_counts_of_a_solid_are_arithmetic(solid):
    found = measure(solid, (16, 32, 128))
    assert [(count.resolution, count.shape, count.voxels, count.occupied, count.own) for count in found.counts] == [
        (16, (16, 16, 10), 2560, 8 * 8 * 4, False),
        (32, (32, 32, 20), 20480, 16 * 16 * 8, False),
        (64, (64, 64, 40), 163840, 32 * 32 * 16, True),
    ]
    assert found.counts[0].percent == 10
    assert found.exponents() == pytest.approx((3, 3))
    assert found.sites == (16384, 2048, 256, 32, 8, 4, 1)


def test_what_a_surface_touches_grows_quadratically(sheet):
    assert measure(sheet, (16, 32, 64), "any").exponents() == pytest.approx((3, 2))


@pytest.mark.shared
@pytest.mark.skipif(not SKULL.exists(), reason=f"{SKULL} is not here")
def test_the_real_skulls_sites():
    """Counted by others: see the data's own README."""
    found = measure(SKULL, (64, 128))
    assert found.sites[:6] == (532_633, 85_054, 15_479, 3_018, 634, 130)
    assert all(3 <= count.percent <= 9 for count in found.counts)


def test_sites_of_any_mask():
    mask = np.random.default_rng(0).random((13, 7, 70)) < 0.03
    expected = [len({tuple(at) for at in (np.argwhere(mask[::-1]) // stride).tolist()}) for stride in stats.STRIDES]
    assert sites_by_stride(mask[::-1]) == tuple(expected)


def test_a_mesh_is_counted_at_its_sizes(tmp_path):
    trimesh.creation.icosphere(3, radius=70.0).export(tmp_path / "a.stl")
    found = measure(tmp_path / "a.stl")
    assert [count.shape for count in found.counts] == [(n, n, n) for n in stats.MESH_SIZES]
    assert found.counts[-1].percent == pytest.approx(100 * np.pi / 6 * (28 / 30) ** 3, rel=0.02)


def test_means_and_the_volumes_own_resolutions():
    def of(own: int, share: float) -> Statistics:
        sizes = [(64, False), (own, True)]
        counts = [Count("v", n, (n, n, n), n**3, round(share * n**2), is_own) for n, is_own in sizes]
        return Statistics(tuple(counts), (1,) * 7)

    both = [of(200, 1.0), of(300, 2.0)]
    assert [level.label for level in levels(both)] == ["64", "own, 250"]
    assert levels(both)[0].occupied == 1.5 * 64**2
    assert mean_exponents(both) == pytest.approx((3, 2), abs=1e-4)


def test_what_cannot_be_fitted_is_said(tmp_path):
    write(tmp_path / "empty.nrrd", BinaryVolume.on_grid(np.zeros((8, 8, 8), np.bool_), (1, 1, 1)))
    found = [measure(tmp_path / "empty.nrrd", (4,))]
    assert "cannot be fitted" in stats.sentence(found, "nearest")
    stats.tables(found, "nearest")
    stats.write_json(tmp_path / "a.json", found, "nearest")
    assert json.loads((tmp_path / "a.json").read_text())["mean_exponents"] == {"voxels": None, "occupied": None}
    plot.plot(tmp_path / "a.svg", found, "nothing")


def test_everything_is_written(solid, sheet, tmp_path):
    found = [measure(path, (16, 32)) for path in (solid, sheet)]
    stats.write_csv(tmp_path / "new" / "a.csv", found)
    with (tmp_path / "new" / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["resolution"], row["occupied"]) for row in rows[:3]] == [("16", "256"), ("32", "2048"), ("64", "16384")]
    stats.write_json(tmp_path / "a.json", found, "nearest")
    content = json.loads((tmp_path / "a.json").read_text())
    assert [len(volume["counts"]) for volume in content["volumes"]] == [3, 3]
    for name in ("a.png", "a.svg"):
        plot.check(tmp_path / name)
        plot.plot(tmp_path / name, found, "two")
        assert (tmp_path / name).stat().st_size > 1000


def test_what_cannot_be_drawn_or_counted_is_refused(tmp_path, monkeypatch):
    with pytest.raises(CalvariaError, match="does not say its format"):
        plot.check(tmp_path / "a.bmp")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(CalvariaError, match="pip install matplotlib"):
        plot.check(tmp_path / "a.png")
    with pytest.raises(CalvariaError, match="nothing to count"):
        stats.files_of([tmp_path])
