from pathlib import Path

import cc3d
import numpy as np
import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.cases import cut, cuts_of, turn
from calvaria.evaluation.defects import KINDS, TEST_KINDS, removed
from calvaria.evaluation.scoring import Drawn
from calvaria.io import read
from calvaria.synthetic import make_skull
from calvaria.vault.cavity import Cavity
from calvaria.volume import BinaryVolume, Mask

REAL = Path(__file__).parents[3] / "shared" / "data" / "seg3d_skull.nrrd"


def head(spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> BinaryVolume:
    """An egg-shaped shell 6 mm thick, open below, longest front to back: the same solid at any spacing."""
    axes = [(np.arange(round(210 / step)) + 0.5) * step - 105 for step in spacing_mm]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    size = np.sqrt((x / 70) ** 2 + (y / 88) ** 2 + (z / 82) ** 2)
    x0, y0, z0 = (float(axis[0]) for axis in axes)
    return BinaryVolume.on_grid((size < 1) & (size > 0.925) & (z > -40), spacing_mm, (x0, y0, z0))


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return head()


def pieces(mask: Mask) -> int:
    return int(cc3d.connected_components(mask, connectivity=26).max())


def volume_mm3(mask: Mask, skull: BinaryVolume) -> float:
    return float(np.count_nonzero(mask) * skull.voxel_mm3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [3, 12])
def test_a_defect_is_bone_of_the_vault_in_one_piece_or_two(skull: BinaryVolume, kind: str, seed: int) -> None:
    taken = removed(skull, seed, kind)
    assert not (taken & ~skull.mask).any()
    assert pieces(taken) == (2 if kind == "two" else 1)
    assert 400 < volume_mm3(taken, skull) < 0.6 * volume_mm3(skull.mask, skull)
    rest = skull.mask & ~taken
    assert np.count_nonzero(cc3d.largest_k(rest, k=1)) == np.count_nonzero(rest), "an island is left hanging"
    if kind not in ("edge", "orbit"):
        lowest = np.argwhere(taken)[:, 2].min() * skull.spacing_mm[2] + skull.origin_mm[2]
        assert lowest > Cavity.of(skull).centre_mm[2] - 26


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_takes_the_same_place_whatever_the_spacing(skull: BinaryVolume, kind: str) -> None:
    coarse, fine = skull, head((1.0, 1.5, 1.2))
    taken_coarse, taken_fine = removed(coarse, 4, kind), removed(fine, 4, kind)
    assert volume_mm3(taken_fine, fine) == pytest.approx(volume_mm3(taken_coarse, coarse), rel=0.15)
    for taken, volume in ((taken_coarse, coarse), (taken_fine, fine)):
        places = np.argwhere(taken) * volume.spacing_mm + volume.origin_mm
        middle = places.mean(axis=0)
        if volume is coarse:
            expected = middle
    np.testing.assert_allclose(middle, expected, atol=2.0)


@pytest.mark.parametrize("kind", ["random_1", "two", "cylinder"])
def test_flipped_and_transposed_grids_lose_the_same_bone(skull: BinaryVolume, kind: str) -> None:
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, skull.shape[0] - 1
    turned = BinaryVolume(skull.mask.transpose(2, 0, 1)[:, ::-1], skull.affine[:, [2, 0, 1, 3]] @ flip)
    np.testing.assert_array_equal(removed(turned, 9, kind), removed(skull, 9, kind).transpose(2, 0, 1)[:, ::-1])


@pytest.mark.parametrize("kind", ["orbit", "frontoorbital"])
@pytest.mark.parametrize("height_mm", [-20.0, 0.0, 12.0, 18.0])
def test_at_the_orbit_the_upper_rim_is_taken_wherever_the_orbit_is(kind: str, height_mm: float) -> None:
    """Not the bone deep in it, which is all that lies in some directions from the head's middle."""
    skull, places = head(), np.indices(head().shape).transpose(1, 2, 3, 0) * 2.0 - 104
    x, y, z = (places[..., axis] for axis in range(3))
    across, front = np.hypot(abs(x) - 28, z - height_mm), y < 0
    deep = front & (abs(y + 38) < 3) & (across < 22)
    face = skull.like(skull.mask & ~(front & (across < 16)) | deep)
    rim = face.mask & ~deep & front & (abs(abs(x) - 28) < 8) & (abs(z - height_mm - 18) < 3)
    for seed in range(4):
        taken = removed(face, seed, kind)
        assert max(taken[rim & (side * x > 0)].mean() for side in (-1, 1)) > 0.6, seed
        assert np.count_nonzero(taken & deep) < 0.2 * np.count_nonzero(taken), seed


def test_named_classes_lie_where_their_names_say(skull: BinaryVolume) -> None:
    centre = Cavity.of(skull).centre_mm

    def middle(kind: str, seed: int) -> np.ndarray:
        return np.asarray(np.argwhere(removed(skull, seed, kind)).mean(axis=0) * skull.spacing_mm + skull.origin_mm - centre)

    for seed in range(2):
        assert abs(middle("bilateral", seed)[0]) < 25
        assert middle("frontoorbital", seed)[1] < -40
        assert abs(middle("parietotemporal", seed)[0]) > 30


def test_two_seeds_and_two_random_classes_differ(skull: BinaryVolume) -> None:
    one, another, other_class = removed(skull, 1, "random_1"), removed(skull, 2, "random_1"), removed(skull, 1, "random_2")
    assert not np.array_equal(one, another)
    assert not np.array_equal(one, other_class)
    np.testing.assert_array_equal(one, removed(skull, 1, "random_1"))


def test_small_and_large_are_that(skull: BinaryVolume) -> None:
    sizes = {kind: volume_mm3(removed(skull, 5, kind), skull) for kind in ("small", "random_1", "large")}
    assert sizes["small"] < 4_000 < sizes["random_1"] < sizes["large"]
    assert sizes["large"] > 25_000


def test_a_defect_at_the_edge_reaches_the_end_of_the_scan(skull: BinaryVolume) -> None:
    lowest = np.argwhere(skull.mask)[:, 2].min()
    assert np.argwhere(removed(skull, 6, "edge"))[:, 2].min() == lowest


def test_kinds_take_turns_and_another_kind_is_refused(skull: BinaryVolume) -> None:
    assert [turn(seed, TEST_KINDS) for seed in (23, 0)] == [TEST_KINDS[3], TEST_KINDS[0]]
    with pytest.raises(CalvariaError, match="Choose one of") as refusal:
        cut(skull, 1, "no such kind")
    assert refusal.value.code is ErrorCode.BAD_OPTION
    with pytest.raises(CalvariaError) as refusal:
        cut(skull.like(np.zeros_like(skull.mask)), 1, "small")
    assert refusal.value.code is ErrorCode.EMPTY_MASK


def test_a_ball_of_the_wrong_size_is_no_skull() -> None:
    with pytest.raises(CalvariaError) as refusal:
        cut(BinaryVolume(head().mask, np.diag([0.1, 0.1, 0.1, 1.0])), 1, "small")
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY


@pytest.mark.parametrize("kind", KINDS)
def test_generated_skulls_can_be_cut(kind: str) -> None:
    skull = make_skull(5, 3.0)
    assert 400 < volume_mm3(removed(skull, 5, kind), skull) < 150_000


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="the real volumes in ../shared/data are not here")
def test_a_real_head_loses_twenty_different_pieces() -> None:
    skull = read(REAL).volume
    sizes = [volume_mm3(case.make().truth.mask, skull) for case in cuts_of(skull, "real", Drawn(range(20)))]
    assert len(set(sizes)) == 20
    assert min(sizes) > 400
