"""From a network's probabilities to an implant, with the probabilities given: what is finishing's own work."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import bounding_box, grown
from calvaria.tasks import TASKS, Inferred, Settings
from calvaria.tasks.clefts import NARROWEST_MM
from calvaria.tasks.completion import MOST_SITES, OPENING_MM, clean, prepare
from calvaria.tasks.components import boxes, components, large_components, wide_components, width_mm
from calvaria.tasks.opening import grown_by_ball, open_by_ball
from calvaria.tasks.task import Prepared
from calvaria.volume import BinaryVolume, Mask

SETTINGS = Settings(spacing_mm=3.0)
SPACING_MM = (1.0, 1.5, 1.0)


def ball_shell(inner_mm: float, outer_mm: float) -> Mask:
    """A hollow sphere in a box of 90 mm."""
    x, y, z = (np.arange(round(90 / s)) * s - 45 + s / 2 for s in SPACING_MM)
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    return np.asarray((distance > inner_mm) & (distance < outer_mm))


@pytest.fixture(scope="module")
def whole() -> Mask:
    return ball_shell(32, 39)


@pytest.fixture(scope="module")
def defective(whole: Mask) -> Prepared:
    mask = whole.copy()
    mask[55:80, :, 55:] = False
    return prepare(BinaryVolume.on_grid(mask, SPACING_MM), SETTINGS)


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def finish(prepared: Prepared, probability: np.ndarray) -> tuple[Mask, Mask]:
    outputs = TASKS["completion"].finish(prepared, Inferred(probability.astype(np.float32)), SETTINGS)
    return outputs["completed"], outputs["implant"]


def test_right_probabilities_give_the_missing_piece_at_the_volumes_own_resolution(whole: Mask, defective: Prepared) -> None:
    completed, implant = finish(defective, defective.grid.coarsen(whole))
    missing = whole & ~defective.canonical.mask
    assert dice(implant, missing) > 0.9
    assert np.array_equal(completed, implant | defective.canonical.mask)
    assert not (implant & defective.canonical.mask).any()


@pytest.mark.parametrize("margin", [0, 3, 40])
def test_a_head_gets_the_same_cells_however_closely_it_is_cropped(margin: int) -> None:
    """But below."""
    roomy = BinaryVolume.on_grid(np.pad(ball_shell(32, 39), 40), SPACING_MM)
    x, y, z = grown(bounding_box(roomy.mask), (margin,) * 3, roomy.shape)
    expected, seen = prepare(roomy, SETTINGS), prepare(roomy.cropped((x, y, slice(0, z.stop))), SETTINGS)
    assert np.array_equal(seen.sites, expected.sites)
    assert np.allclose(seen.features, expected.features, atol=1e-4)
    assert np.allclose(seen.grid.affine, expected.grid.affine)


def test_cells_may_be_the_volumes_own_voxels() -> None:
    mask = np.ascontiguousarray(ball_shell(32, 39)[:, ::3, :])
    prepared = prepare(BinaryVolume.on_grid(mask, (1.0, 4.5, 1.0)), replace(SETTINGS, spacing_mm=0.0))
    assert prepared.grid.spacing_mm == 4.5
    cubes = BinaryVolume.on_grid(mask, (2.0, 2.0, 2.0))
    prepared = prepare(cubes, replace(SETTINGS, spacing_mm=0.0, margin_mm=0.0))
    assert np.array_equal(prepared.sites, mask[bounding_box(mask)])


def test_a_head_of_fine_voxels_is_worked_on_as_it_is_where_a_network_asks_for_that() -> None:
    """The paper's larger grids: more cells, and more of them occupied, than are worked on where cells have a width of their own."""
    mask = np.zeros((200, 200, 200), np.bool_)
    mask[20:180, 20:180, 150:160] = True
    skull = BinaryVolume.on_grid(mask, (0.5, 0.5, 0.5))
    assert prepare(skull, replace(SETTINGS, spacing_mm=0.0)).occupied_cells == mask.sum() > MOST_SITES
    with pytest.raises(CalvariaError) as refusal:
        prepare(skull, replace(SETTINGS, spacing_mm=0.5))
    assert refusal.value.code is ErrorCode.TOO_LARGE


def test_in_no_placement_of_cells_may_more_be_occupied_than_are_worked_on() -> None:
    """Rods of a cell's width are two cells wide where these lie half a cell otherwise."""
    lattice = np.zeros((138, 138, 138), np.bool_)
    lattice[::5, ::5] = lattice[::6, :, ::30] = lattice[:, ::30, ::30] = True
    volume, settings = BinaryVolume.on_grid(lattice, (3.0, 3.0, 3.0)), replace(SETTINGS, occupied_share=0.1)
    assert prepare(volume, settings).occupied_cells < MOST_SITES
    with pytest.raises(CalvariaError) as refusal:
        prepare(volume, replace(settings, mirrored=True))
    assert refusal.value.code is ErrorCode.TOO_LARGE


def test_an_implant_leaves_out_what_sticks_through_the_hole(whole: Mask) -> None:
    """A drain, or a pin: no part of the head, and no place for an implant."""
    gone = np.zeros_like(whole)
    gone[55:, :, 50:] = True
    wide = np.pad(whole & ~gone, ((0, 140), (0, 0), (0, 0)))
    rod = np.s_[70:, 29:31, 60:63]
    wide[rod] = True
    head = prepare(BinaryVolume.on_grid(wide, SPACING_MM), replace(SETTINGS, occupied_share=0.1))
    completed, implant = finish(head, head.grid.coarsen(np.pad(whole, ((0, 140), (0, 0), (0, 0)))))
    assert not head.canonical.mask[rod].any()
    assert implant.any()
    assert not (implant & wide).any()
    assert np.array_equal(completed, implant | wide)


def test_intact_bone_is_left_alone(whole: Mask, defective: Prepared) -> None:
    """A network that thinks all bone a little thicker than it is must not coat the skull."""
    thick = defective.grid.coarsen(ball_shell(31, 40))
    _, implant = finish(defective, thick)
    far = ~whole
    far[45:, :, 45:] = False
    assert not (implant & far).any()


@pytest.mark.parametrize("upward", [True, False])
def test_nothing_is_added_below_the_lowest_bone(whole: Mask, upward: bool) -> None:
    """A scan that ends there may lie in a larger, padded volume: what lies beyond was not removed."""
    lowest = 30
    given, expected = whole.copy(), whole.copy()
    given[:, :, :lowest] = expected[:, :, :lowest] = False
    given[55:80, :, 55:] = False
    volume = BinaryVolume.on_grid(given, SPACING_MM)
    if not upward:
        volume = BinaryVolume(given[:, :, ::-1], volume.affine @ np.diag([1, 1, -1, 1]))
    prepared = prepare(volume, SETTINGS)
    _, implant = finish(prepared, prepared.grid.coarsen(whole))
    assert not implant[:, :, :lowest].any()
    assert dice(implant, expected & ~given) > 0.9


def test_crumbs_are_dropped(whole: Mask, defective: Prepared) -> None:
    probability = defective.grid.coarsen(whole)
    clean = finish(defective, probability)[1]
    probability[0, 0, 0] = 1.0
    assert np.array_equal(finish(defective, probability)[1], clean)


def test_no_defect_no_implant(defective: Prepared) -> None:
    completed, implant = finish(defective, defective.sites.astype(np.float32))
    assert not implant.any()
    assert np.array_equal(completed, defective.canonical.mask)


def test_an_opening_keeps_plates_and_drops_films() -> None:
    mask = np.zeros((30, 30, 30), np.bool_)
    mask[5:25, 5:25, 10:16] = True
    with_film = mask.copy()
    with_film[2:28, 2:28, 12] = True
    opened = open_by_ball(with_film, 1.0, (0.8, 0.8, 0.8))
    assert dice(opened, mask) > 0.94  # a ball rounds the plate's edges
    assert not open_by_ball(with_film & ~mask, 1.0, (0.8, 0.8, 0.8)).any()


@given(
    seed=st.integers(0, 99),
    count=st.tuples(*[st.integers(1, 24)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.2, 0.4, 0.5, 0.7, 1.0, 2.5])] * 3),
)
def test_cleaning_by_pieces_is_opening_the_whole(seed: int, count: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    """Blobs of all sizes, at the border too; and of each what lies within the ball's radius of what stays of it."""
    noise = np.random.default_rng(seed).random(count)
    mask = ndimage.gaussian_filter(noise, [0.6 / mm for mm in spacing], mode="nearest") > np.median(noise) - 0.02
    kept = clean(mask, spacing, Settings(spacing_mm=3.0, smallest_mm3=3.0))
    opened = large_components(open_by_ball(mask, OPENING_MM, spacing), 3.0 / prod(spacing))
    expected = wide_components(opened, spacing, NARROWEST_MM)
    labels, counts = components(mask)
    for label in range(1, len(counts)):
        piece = labels == label
        expected |= large_components(piece & grown_by_ball(expected & piece, OPENING_MM, spacing), 3.0 / prod(spacing))
    assert np.array_equal(kept, expected)
    assert (components(kept)[1][1:] >= 3.0 / prod(spacing)).all(), "no crumbs"


def test_a_plate_keeps_its_edges_and_loses_the_film_around_it() -> None:
    plate = np.zeros((40, 40, 30), np.bool_, order="F")
    plate[8:32, 8:32, 10:18] = True
    with_film = plate.copy(order="F")
    with_film[2:38, 2:38, 17] = True
    for mask in (plate, with_film):
        kept = clean(mask, (0.8, 0.8, 0.8), Settings(spacing_mm=3.0, smallest_mm3=3.0))
        assert np.count_nonzero(plate & ~kept) <= 8, "the corners at most"
        assert np.count_nonzero(kept & ~plate) <= 4 * 24, "a voxel's breadth of film at most"


def test_holes_are_filled_and_clefts_are_not() -> None:
    x, y = np.meshgrid(np.arange(120) * 0.5, np.arange(80) * 0.5, indexing="ij")
    hole, cleft = (x - 12) ** 2 + (y - 12) ** 2 < 5**2, (abs(y - 30) < 2) & (abs(x - 30) < 25)
    plates = np.repeat((hole | cleft)[..., None], 10, axis=2)
    kept = clean(np.asfortranarray(np.pad(plates, 3)), (0.5, 0.5, 0.5), Settings(spacing_mm=3.0, smallest_mm3=3.0))[3:-3, 3:-3, 3:-3]
    assert dice(kept, plates & hole[..., None]) > 0.9
    assert width_mm(plates & cleft[..., None], (0.5, 0.5, 0.5)) == pytest.approx(5, abs=0.1), "thicker than wide"


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (np.zeros((8, 8, 8), np.bool_), ErrorCode.EMPTY_MASK),
        (np.ones((8, 8, 8), np.bool_), ErrorCode.FULL_MASK),
        (np.pad(np.ones((1, 1, 1), np.bool_), 4), ErrorCode.EMPTY_MASK),
    ],
    ids=["empty", "full", "too small to see"],
)
def test_masks_without_a_shape_are_refused(mask: Mask, code: ErrorCode) -> None:
    with pytest.raises(CalvariaError) as refusal:
        prepare(BinaryVolume.on_grid(mask, (0.5, 0.5, 0.5)), SETTINGS)
    assert refusal.value.code is code


def rods(shape: tuple[int, int, int]) -> Mask:
    """Two opposite corners."""
    mask = np.zeros(shape, np.bool_, order="F")
    mask[:4, :4, :4] = mask[-4:, -4:, -4:] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "spacing_mm", "message"),
    [
        (rods((4097, 4, 4)), 0.5, "4,097 voxels"),
        (rods((300, 300, 300)), 3.0, "spans 900 × 900 × 900 mm"),
        (rods((40, 40, 40)), 90.0, "spans 3,600 × 3,600 × 3,600 mm"),
        (rods((1100, 4, 4)), 3.0, "spans 3,300 × 12 × 12 mm"),
        (~rods((110, 110, 110)), 2.5, "litres, more than the 3.5"),
    ],
    ids=["long", "wide", "in kilometres", "a pole", "massive"],
)
def test_more_work_than_a_head_makes_is_refused(mask: Mask, spacing_mm: float, message: str) -> None:
    with pytest.raises(CalvariaError, match=message) as refusal:
        prepare(BinaryVolume.on_grid(mask, (spacing_mm,) * 3), SETTINGS)
    assert refusal.value.code is ErrorCode.TOO_LARGE
    assert refusal.value.message.endswith(".")


def test_components_of_the_smallest_size_stay() -> None:
    mask = np.zeros((12, 12, 12), np.bool_)
    mask[0, 0, :5] = mask[4:6, 4, 4] = mask[6:9, 5, 5] = True  # five, and five that touch by a corner
    mask[11, 11, 8:] = True
    kept = large_components(mask, 5)
    assert kept.sum() == 10
    assert not kept[11].any()
    assert not large_components(mask, 5.1).any()
    assert not large_components(np.zeros_like(mask), 5).any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_components_their_sizes_and_boxes_are_those_of_scipy(order: str) -> None:
    mask = np.asarray(np.random.default_rng(4).random((23, 17, 12)) > 0.93, order=order)
    labels, counts = components(mask)
    for label, box in enumerate(boxes(labels, mask), start=1):
        piece = labels == label
        assert counts[label] == np.count_nonzero(piece)
        assert box == ndimage.find_objects(piece.astype(int))[0]
    assert counts[0] == 0
    assert len(counts) == ndimage.label(mask, np.ones((3, 3, 3)))[1] + 1
    assert boxes(np.zeros_like(labels), np.zeros_like(mask)) == []
