from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.metrics import dice
from calvaria.geometry import bounding_box, grown, to_canonical
from calvaria.synthetic.thorax import make_case
from calvaria.tasks import TASKS, Extras, Inferred, Settings, refinement
from calvaria.tasks.refinement import APART_MM, INPUTS, LARGEST_CELL_MM, REACH_CELLS, Given, finish, prepare, working_grid
from calvaria.volume import BinaryVolume, Mask

SETTINGS = Settings(spacing_mm=1.5, smallest_mm3=50)


def ball(radius_mm: float, shape: tuple[int, int, int] = (40, 36, 30), spacing_mm: tuple[float, float, float] = (1.0, 1.2, 2.0)) -> Mask:
    axes = [(np.arange(count) - (count - 1) / 2) * mm for count, mm in zip(shape, spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 < radius_mm**2)


def volume(mask: Mask, spacing_mm: tuple[float, float, float] = (1.0, 1.2, 2.0)) -> BinaryVolume:
    return BinaryVolume.on_grid(mask, spacing_mm)


def refined(given: BinaryVolume, field: NDArray[np.float32] | None = None) -> Mask:
    """What becomes of a mask where the network says this of the cells; by default, that they are as full as they are."""
    prepared = prepare(given, SETTINGS)
    said = prepared.shares if field is None else field
    return finish(prepared, Inferred(said), SETTINGS)["refined"]


@pytest.mark.parametrize("seed", range(4))
def test_what_the_network_agrees_with_is_not_redrawn(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement, "LITTLE", 0.0)  # which would hide that something is
    case = make_case(seed, "aorta")
    assert dice(refined(case.truth), case.truth.mask) == 1


@pytest.mark.parametrize(("seed", "organ"), [(0, "heart"), (1, "oesophagus"), (2, "body"), (3, "trachea")])
def test_a_network_that_knows_the_truth_mends_nearly_all(seed: int, organ: str) -> None:
    """So that what is left on real questions is the network's doing, not that of the cells or of where they are judged."""
    case = make_case(seed, organ, (0.8, 0.85), 0.0)
    prepared = prepare(case.given, SETTINGS)
    truth = prepared.grid.coarsen(to_canonical(case.truth).mask)
    before, after = dice(case.given.mask, case.truth.mask), dice(refined(case.given, truth), case.truth.mask)
    assert 1 - after < 0.35 * (1 - before)


@pytest.mark.parametrize(("missing", "alone", "scanned"), [(3, False, False), (7, True, False), (11, True, True)])
def test_a_mask_is_redrawn_where_it_changes_by_more_than_right_ones_would(missing: int, alone: bool, scanned: bool) -> None:
    """A rod that lacks so many voxels of its length; with the scan, the network finds a little wrong in right masks, too."""
    spacing_mm = (1.0, 1.0, 1.0)
    truth = np.zeros((32, 32, 76), np.bool_)
    truth[:, :, 8:68] = ball(7, (32, 32, 1), spacing_mm)
    given = truth.copy()
    given[:, :, 68 - missing :] = False
    for extras, redrawn in ((Extras(), alone), (Extras(image=np.where(truth, 150, -50).astype(np.int16)), scanned)):
        prepared = prepare(volume(given, spacing_mm), SETTINGS, extras)
        answer = finish(prepared, Inferred(prepared.grid.coarsen(truth)), SETTINGS)["refined"]
        assert dice(answer, truth) > 0.99 if redrawn else (answer == given).all()


def test_a_mask_smaller_than_the_smallest_piece_is_kept() -> None:
    small = np.zeros((30, 30, 30), np.bool_)
    small[12:15, 12:15, 12:15] = True
    np.testing.assert_array_equal(refined(volume(small, (1.0, 1.0, 1.0))), small)


def test_stray_pieces_that_the_network_denies_go_and_crumbs_of_its_own_too() -> None:
    mask = ball(12)
    mask[2:5, 2:5, 2:4] = True
    prepared = prepare(volume(mask), SETTINGS)
    said = prepared.grid.coarsen(ball(12))
    crumb = np.unravel_index(np.argmax(prepared.sites & (prepared.shares == 0)), said.shape)
    said[crumb] = 1
    np.testing.assert_array_equal(refined(volume(mask), said), ball(12))


def test_every_flip_and_order_of_axes_asks_the_same() -> None:
    case = make_case(5, "heart", imaged=True)
    assert case.image is not None
    expected = prepare(case.given, SETTINGS, Extras(image=case.image))
    mask, image, affine = case.given.mask, case.image, case.given.affine
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = mask.shape[0] - 1
    order = [2, 0, 1]
    turned = (affine @ flip)[:, [*order, 3]]
    again = prepare(BinaryVolume(mask[::-1].transpose(order), turned), SETTINGS, Extras(image=image[::-1].transpose(order)))
    np.testing.assert_array_equal(again.sites, expected.sites)
    np.testing.assert_allclose(again.features, expected.features, atol=1e-5)


def test_a_scan_is_told_where_it_comes_and_only_there() -> None:
    mask = ball(12)
    image = np.where(mask, 150, -50).astype(np.int16)
    without, given = (prepare(volume(mask), SETTINGS, extras) for extras in (Extras(), Extras(image=image)))
    assert without.features.shape[1] == given.features.shape[1] == INPUTS
    assert not without.features[:, Given.SCANNED : Given.LEFT].any()
    np.testing.assert_array_equal(without.features[:, : Given.SCANNED], given.features[:, : Given.SCANNED])
    inside = given.features[:, Given.SHARE] == 1
    np.testing.assert_allclose(given.features[inside, Given.SCANNED : Given.LEFT], [[1, 0.25, 0]] * np.count_nonzero(inside), atol=1e-6)
    assert np.median(given.features[given.features[:, Given.SHARE] == 0, Given.CONTRAST]) == -2


def test_cells_know_where_they_lie_about_the_middle_of_the_mask() -> None:
    far = np.zeros((60, 60, 60), np.bool_)
    far[5:45, 6:42, 7:37] = ball(12)
    near, moved = (prepare(volume(mask), SETTINGS) for mask in (ball(12), far))
    for prepared in (near, moved):
        surface = abs(prepared.features[:, Given.DISTANCE]) <= 1 / REACH_CELLS
        from_middle = np.linalg.norm(prepared.features[surface, Given.LEFT :], axis=1) * APART_MM
        assert abs(from_middle - 12).max() < 3


def test_cells_grow_with_the_mask_and_everything_near_its_surface_is_judged() -> None:
    small, large = (prepare(volume(ball(radius, (90, 90, 90), (2, 2, 2)), (2, 2, 2)), SETTINGS) for radius in (10, 85))
    assert small.grid.spacing_mm == 2
    assert 3 < large.grid.spacing_mm < LARGEST_CELL_MM
    assert abs(large.features[:, Given.DISTANCE]).max() <= 1
    assert np.count_nonzero(large.sites) > REACH_CELLS * np.count_nonzero(abs(large.features[:, Given.DISTANCE]) <= 1 / REACH_CELLS) / 3


@pytest.mark.parametrize(
    ("mask", "spacing_mm", "code"),
    [
        (np.zeros((4, 4, 4), np.bool_), (1, 1, 1), ErrorCode.EMPTY_MASK),
        (np.ones((4, 4, 4), np.bool_), (1, 1, 1), ErrorCode.FULL_MASK),
        (np.indices((30, 30, 30)).sum(0) > 0, (1, 1, 1), ErrorCode.FULL_MASK),
        (np.eye(4, dtype=np.bool_)[..., None] & [True, False], (0.2, 0.2, 0.2), ErrorCode.EMPTY_MASK),
        (ball(3) | np.roll(ball(3), 15, axis=0), (100, 100, 100), ErrorCode.TOO_LARGE),
        (np.tile(ball(3), (8, 8, 8)), (3, 3, 3), ErrorCode.TOO_LARGE),
    ],
)
def test_what_shows_no_organ_is_refused(mask: Mask, spacing_mm: tuple[float, float, float], code: ErrorCode) -> None:
    with pytest.raises(CalvariaError) as refusal:
        prepare(volume(mask, spacing_mm), SETTINGS)
    assert refusal.value.code is code


@pytest.mark.parametrize("shape", [(4, 12, 12), (30, 26, 22), (60, 60, 4)])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.6, 0.6, 5.0), (4.0, 4.0, 4.0)])
def test_what_it_spans_is_known_before(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    mask = np.ones(shape, np.bool_)
    mask[0, 0, 0] = False
    given = volume(mask, spacing_mm)
    cells = prod(working_grid(given, SETTINGS.spacing_mm).shape)
    assert cells <= TASKS["refinement"].spans(given, Extras())


def test_coarse_voxels_are_cells() -> None:
    assert prepare(volume(ball(40, (20, 20, 20), (5, 5, 5)), (5, 5, 5)), SETTINGS).grid.spacing_mm == 5


def test_a_mask_of_which_less_than_half_would_be_left_stays() -> None:
    mask = ball(12)
    assert np.array_equal(refined(volume(mask), np.zeros_like(prepare(volume(mask), SETTINGS).shares)), mask)


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_a_mask_is_judged_the_same_however_closely_it_is_cropped(margin: int) -> None:
    roomy = volume(np.pad(ball(12), 20))
    image = np.random.default_rng(0).normal(0, 100, roomy.shape)
    box = grown(bounding_box(roomy.mask), (margin,) * 3, roomy.shape)
    held = np.pad(image[box], [(axis.start, count - axis.stop) for axis, count in zip(box, roomy.shape, strict=True)], mode="edge")
    whole, cropped = prepare(roomy, SETTINGS, Extras(image=held)), prepare(roomy.cropped(box), SETTINGS, Extras(image=image[box]))
    assert np.array_equal(whole.sites, cropped.sites)
    of_image = [Given.BRIGHTNESS, Given.CONTRAST]
    of_mask = [column for column in Given if column not in of_image]
    np.testing.assert_allclose(cropped.features[:, of_mask], whole.features[:, of_mask], atol=1e-6)
    assert np.median(abs(cropped.features[:, of_image] - whole.features[:, of_image])) < 0.01


def test_what_is_unlike_any_body_it_knows_is_said_to_be_and_left_as_it_is() -> None:
    sheet = np.zeros((160, 140, 30), np.bool_)
    sheet[4:156, 4:136, 14:16] = True
    large = volume(ball(30, (70, 70, 70), (1, 1, 1)), (4, 4, 4))
    for given, unlike in ((volume(ball(12)), False), (volume(ball(9)), True), (volume(sheet), True), (large, True)):
        prepared = prepare(given, SETTINGS)
        assert bool(TASKS["refinement"].unlike(prepared)) == unlike
        less = prepared.shares.copy()
        less[: int(0.4 * len(less))] = 0
        assert np.array_equal(refined(given, less), given.mask) == unlike


def test_the_task_is_listed() -> None:
    assert TASKS["refinement"].outputs == ("refined",)
