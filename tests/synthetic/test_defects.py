"""Defects: a piece of the vault of sensible size, the same in patient space whatever the file looks like."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.synthetic import DEFECT_KINDS, Defect, cut_defect, make_skull
from calvaria.volume import BinaryVolume
from tests.synthetic.turned_skulls import changes_the_same_whatever_the_axes

REAL = Path(__file__).parents[3] / "shared" / "data" / "seg3d_skull.nrrd"


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(4, 2.5)


def cm3(volume: BinaryVolume) -> float:
    return volume.occupied * volume.voxel_mm3 / 1000


def check(defect: Defect, skull: BinaryVolume) -> None:
    defective, implant = defect.defective.mask, defect.implant.mask
    assert not (defective & implant).any()
    assert np.array_equal(defective | implant, skull.mask)
    assert (0.2 if defect.kind == "small" else 1.4) < cm3(defect.implant) < 0.36 * cm3(skull)


@given(seed=st.integers(0, 10_000), kinds=st.sampled_from([(), *((kind,) for kind in DEFECT_KINDS)]))
@settings(max_examples=40, deadline=None)
def test_a_piece_of_sensible_size_is_missing_and_nothing_else(skull: BinaryVolume, seed: int, kinds: tuple[str, ...]) -> None:
    defect = cut_defect(skull, seed, *kinds)
    check(defect, skull)
    assert defect.kind in (kinds or DEFECT_KINDS)


def test_the_seed_decides(skull: BinaryVolume) -> None:
    once, again, other = (cut_defect(skull, seed).implant.mask for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_axis_order_and_flips_do_not_matter(skull: BinaryVolume, kind: str) -> None:
    assert changes_the_same_whatever_the_axes(lambda turned: cut_defect(turned, 11, kind).implant, skull)


def test_a_finer_grid_loses_the_same_piece() -> None:
    coarse, fine = make_skull(4, 2.0), make_skull(4, 1.0)
    a, b = (cut_defect(skull, 3, "craniotomy").implant for skull in (coarse, fine))
    assert cm3(a) == pytest.approx(cm3(b), rel=0.1)
    middles = [(np.argwhere(v.mask) @ v.affine[:3, :3].T + v.affine[:3, 3]).mean(axis=0) for v in (a, b)]
    assert np.linalg.norm(middles[0] - middles[1]) < 2.0


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        ("bilateral", lambda x, y, z: x.min() < -5 and x.max() > 5),
        ("frontoorbital", lambda x, y, z: y.mean() < -30),
        ("parietotemporal", lambda x, y, z: abs(x.mean()) > 25),
        ("orbit", lambda x, y, z: y.mean() < -20),
    ],
)
def test_kinds_lie_where_their_names_say(skull: BinaryVolume, kind: str, test: object) -> None:
    bone = np.argwhere(skull.mask) @ skull.affine[:3, :3].T + skull.affine[:3, 3]
    middle = (bone.min(axis=0) + bone.max(axis=0)) / 2
    for seed in range(8):
        implant = cut_defect(skull, seed, kind).implant
        x, y, z = (np.argwhere(implant.mask) @ implant.affine[:3, :3].T + implant.affine[:3, 3] - middle).T
        assert test(x, y, z), seed  # type: ignore[operator]


def test_only_the_kinds_that_are_named_are_cut(skull: BinaryVolume) -> None:
    named = ("solid", "small", "edge")
    assert {cut_defect(skull, seed, *named).kind for seed in range(20)} == set(named)
    with pytest.raises(CalvariaError, match='no defect kind "tiny"'):
        cut_defect(skull, 1, "solid", "tiny")


def test_an_unknown_kind_is_refused(skull: BinaryVolume) -> None:
    with pytest.raises(CalvariaError, match='no defect kind "tiny"') as refusal:
        cut_defect(skull, 1, "tiny")
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_what_is_no_skull_is_refused() -> None:
    speck = np.zeros((20, 20, 20), np.bool_)
    speck[10, 10, 10] = True
    with pytest.raises(CalvariaError, match="Check that it is a skull"):
        cut_defect(BinaryVolume.on_grid(speck, (1, 1, 1)), 1)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(CalvariaError, match="empty") as refusal:
        cut_defect(BinaryVolume.on_grid(np.zeros((8, 8, 8), np.bool_), (1, 1, 1)), 1)
    assert refusal.value.code is ErrorCode.EMPTY_MASK


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_skull_base_stays(skull: BinaryVolume, kind: str) -> None:
    """Little of any implant comes from the middle of the base, most where it reaches the edge of the scan."""
    bone = np.argwhere(skull.mask) @ skull.affine[:3, :3].T + skull.affine[:3, 3]
    middle, top = (bone.min(axis=0) + bone.max(axis=0)) / 2, bone[:, 2].max()
    for seed in range(4):
        implant = cut_defect(skull, seed, kind).implant
        aside, behind, level = (np.argwhere(implant.mask) @ implant.affine[:3, :3].T + implant.affine[:3, 3] - middle).T
        assert np.mean((np.hypot(aside, behind) < 28) & (level + middle[2] < top - 85)) < 0.15, seed


@given(turns=st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_an_oblique_grid_is_cut_too(skull: BinaryVolume, turns: list[float], seed: int) -> None:
    affine = skull.affine.copy()
    affine[:3, :3] = Rotation.from_rotvec(turns).as_matrix() @ affine[:3, :3]
    turned = BinaryVolume(skull.mask, affine)
    check(cut_defect(turned, seed), turned)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is absent: the real volumes are not part of the repository")
@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_real_skull_can_be_cut(kind: str) -> None:
    from calvaria.io import read

    skull = read(REAL).volume
    check(cut_defect(skull, 5, kind), skull)
