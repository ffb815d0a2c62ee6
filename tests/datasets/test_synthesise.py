"""Data sets of generated skulls: what they hold, in both layouts, and going on with one that was begun."""

from math import prod
from pathlib import Path

import numpy as np
import pytest

from calvaria.datasets import pairs
from calvaria.datasets.files import MESHES
from calvaria.datasets.index import DataSet
from calvaria.datasets.layouts import cases_in
from calvaria.datasets.prepare import Recipe, plan, prepare
from calvaria.datasets.synthesise import LAYOUTS, MOST_DEFECTS, SKULLBREAK_DEFECTS, layout_named, names_of, synthesise
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read
from calvaria.synthetic import DEFECT_KINDS, cut_defect, make_skull

SPACING_MM = 4.0


def make(out: Path, layout: str, seeds: range, kinds: tuple[str, ...]) -> DataSet:
    dataset = DataSet(out, {"layout": layout})
    assert list(synthesise(dataset, LAYOUTS[layout], seeds, kinds, SPACING_MM)) == list(seeds)
    return dataset


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_case_is_a_skull_its_defect_and_the_piece(tmp_path, layout):
    kinds = ("random", "parietotemporal", "random")
    dataset = make(tmp_path, layout, range(5, 7), kinds)
    assert not dataset.failures
    found = pairs(tmp_path)
    assert {(pair.skull, pair.kind) for pair in found} == {
        (s, k) for s in ("005", "006") for k in ("random_1", "parietotemporal", "random_2")
    }
    for pair in found:
        assert pair.complete
        whole, (defective, implant) = read(pair.complete).volume, pair.read()
        assert np.array_equal(whole.mask, defective.mask | implant.mask)
        assert not (defective.mask & implant.mask).any()
        assert implant.occupied
        assert np.array_equal(whole.mask, make_skull(int(pair.skull), SPACING_MM).mask)
    skull = make_skull(6, SPACING_MM)
    (last,) = (pair for pair in found if (pair.skull, pair.kind) == ("006", "random_2"))
    assert np.array_equal(last.read()[1].mask, cut_defect(skull, 6 * MOST_DEFECTS + 2, "random").implant.mask)
    first, second = (pair.read()[1].mask for pair in found if pair.skull == "006" and "random" in pair.kind)
    assert not np.array_equal(first, second)


def test_only_what_is_missing_is_made(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("calvaria.datasets.synthesise.make_skull", lambda seed, mm: made.append(seed) or make_skull(seed, mm))
    make(tmp_path, "pairs", range(1, 3), ("random",))
    implant = tmp_path / "002/random/implant.nrrd"
    before = read(implant).volume.mask
    implant.unlink()
    make(tmp_path, "pairs", range(1, 4), ("random",))
    assert made == [1, 2, 2, 3]
    assert np.array_equal(read(implant).volume.mask, before)


def test_a_defect_that_does_not_fit_is_two_rows(tmp_path, monkeypatch):
    def cut(skull, seed, kind):
        if kind == "large":
            raise CalvariaError(ErrorCode.BAD_GEOMETRY, "No defect fits.")
        return cut_defect(skull, seed, kind)

    monkeypatch.setattr("calvaria.datasets.synthesise.cut_defect", cut)
    dataset = make(tmp_path, "skullbreak", range(1, 2), ("large", "random"))
    assert [(row.name, row.error) for row in dataset.failures] == [
        ("defective_skull/large/001.nrrd", "bad-geometry"),
        ("implant/large/001.nrrd", "bad-geometry"),
    ]
    assert (tmp_path / "implant/random/001.nrrd").exists()


def test_skullbreaks_defects_exist():
    assert names_of(SKULLBREAK_DEFECTS) == ["bilateral", "frontoorbital", "parietotemporal", "random_1", "random_2"]


@pytest.mark.parametrize("kinds", [(), ("hat",), (DEFECT_KINDS[0],) * (MOST_DEFECTS + 1)])
def test_what_cannot_be_cut_is_refused(kinds):
    with pytest.raises(CalvariaError):
        names_of(kinds)


def test_an_unknown_layout_or_format_is_refused():
    with pytest.raises(CalvariaError, match="Choose one of: skullbreak, pairs"):
        layout_named("bids")
    with pytest.raises(CalvariaError, match="no format 'obj' to write"):
        layout_named("pairs", "obj")


def test_surfaces_are_voxelised_to_the_same_skulls(tmp_path):
    dataset = DataSet(tmp_path / "meshes", {})
    assert list(synthesise(dataset, layout_named("pairs", "stl"), range(5, 6), ("random",), 3.0)) == [5]
    (case,) = cases_in(tmp_path / "meshes", MESHES)
    made = DataSet(tmp_path / "voxels", {})
    recipe = Recipe(meshes=(60,))
    assert list(prepare(tmp_path / "meshes", made, plan(tmp_path / "meshes", tmp_path / "voxels", recipe), recipe))
    (voxels,) = pairs(tmp_path / "voxels" / "60")
    defective, implant = voxels.read()
    assert voxels.name == case.name
    skull = make_skull(5, 3.0)
    volumes = [
        mask.sum() * prod(spacing) for mask, spacing in ((defective.mask | implant.mask, defective.spacing_mm), (skull.mask, (3.0,) * 3))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.03)
    assert implant.occupied * implant.voxel_mm3 == pytest.approx(
        27 * cut_defect(skull, 5 * MOST_DEFECTS, "random").implant.occupied, rel=0.1
    )
