"""From a coarse mask to what the network is asked, and from its probabilities to a fine mask on the grid that was wanted."""

import tracemalloc
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.grid import WorkingGrid
from calvaria.sampling import nearest, sampled
from calvaria.synthetic.coarse import scan
from calvaria.tasks import Extras, Inferred, Settings, super_resolution
from calvaria.tasks.super_resolution import INPUTS, MOST_VOXELS, SUPER_RESOLUTION, Given, answer_grid, prepare
from calvaria.volume import BinaryVolume

SETTINGS = Settings(spacing_mm=0.4, occupied_share=0.01)
task = SUPER_RESOLUTION


def shell(spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> BinaryVolume:
    """A hollow sphere in a box of 96 mm."""
    axes = [np.arange(round(96 / mm)) * mm - 48 + mm / 2 for mm in spacing_mm]
    distance = np.sqrt(sum(axis**2 for axis in np.ix_(*axes)))
    return BinaryVolume.on_grid((distance > 30) & (distance < 38), spacing_mm, (5.0, -7.0, 11.0))


def corners(volume: BinaryVolume) -> np.ndarray:
    """Of the field of view, mm."""
    ends = np.array([[-0.5, count - 0.5] for count in volume.shape])
    return volume.affine @ np.vstack([np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1), np.ones(8)])


def dice(a: BinaryVolume, b: BinaryVolume) -> float:
    return 2 * int(np.count_nonzero(a.mask & b.mask)) / (a.occupied + b.occupied)


def oriented(volume: BinaryVolume, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> BinaryVolume:
    """The same anatomy on a grid whose axes are permuted and reversed."""
    affine, mask = volume.affine[:, [*axes, 3]].copy(), volume.mask.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
            mask = np.flip(mask, axis)
    return BinaryVolume(np.ascontiguousarray(mask), affine)


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.5, 5)] * 3),
    st.one_of(st.floats(1.1, 8).map(lambda f: Extras(factor=f)), st.just(Extras())),
)
def test_a_factor_keeps_the_field_of_view(shape, spacing_mm, finer):
    volume = BinaryVolume.on_grid(np.ones(shape, np.bool_), spacing_mm, (1.0, 2.0, 3.0))
    answer = answer_grid(volume, finer)
    assert np.allclose(corners(answer), corners(volume), atol=1e-6)
    assert np.allclose(np.array(answer.shape) / shape, finer.factor or 2, atol=0.5)


def test_a_whole_factor_divides_every_voxel():
    volume = oriented(shell((4.0, 2.0, 3.0)), (2, 0, 1), (True, False, True))
    answer = answer_grid(volume, Extras(factor=4))
    assert answer.shape == tuple(4 * count for count in volume.shape)
    assert np.allclose(answer.affine[:3, :3], volume.affine[:3, :3] / 4)


@given(st.tuples(*[st.integers(3, 30)] * 3), st.tuples(*[st.floats(1, 5)] * 3), st.floats(0.3, 0.9))
def test_a_spacing_is_met_exactly_about_the_same_centre(shape, spacing_mm, wanted_mm):
    volume = BinaryVolume.on_grid(np.ones(shape, np.bool_), spacing_mm)
    answer = answer_grid(volume, Extras(spacing_mm=wanted_mm))
    assert answer.spacing_mm == pytest.approx((wanted_mm,) * 3)
    assert np.allclose(corners(answer).mean(axis=1), corners(volume).mean(axis=1))
    assert (abs(corners(answer) - corners(volume)).max(axis=1)[:3] <= wanted_mm / 2 + 1e-9).all()


@pytest.mark.parametrize(
    ("finer", "code"),
    [
        (Extras(2.0, 2.0), ErrorCode.BAD_OPTION),
        (Extras(spacing_mm=4.0), ErrorCode.BAD_OPTION),
        (Extras(factor=1.0), ErrorCode.BAD_OPTION),
        (Extras(factor=16.0), ErrorCode.TOO_LARGE),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(finer, code):
    coarse = scan(shell(), (2, 2, 2), "mean")
    large = BinaryVolume.on_grid(np.broadcast_to(coarse.mask[:1, :1, :1], (48, 48, 48)), (2, 2, 2))
    assert MOST_VOXELS < 48**3 * 16**3
    with pytest.raises(CalvariaError) as caught:
        answer_grid(large, finer)
    assert caught.value.code is code


def test_of_one_voxel_no_more_are_made_than_are_worked_on_at_once():
    few = BinaryVolume.on_grid(np.array([[[True, False]]]), (10.0, 10.0, 10.0))
    assert prod(answer_grid(few, Extras(spacing_mm=0.1)).shape) == 2 * 100**3
    with pytest.raises(CalvariaError, match="Each voxel would become") as caught:
        answer_grid(few, Extras(spacing_mm=0.05))
    assert caught.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize("finer", [Extras(), Extras(factor=3.0), Extras(spacing_mm=0.9), Extras(factor=1.1)])
@pytest.mark.parametrize("spacing_mm", [(4.0, 4.0, 4.0), (1.2, 1.2, 4.0)])
def test_what_it_spans_is_known_before(finer: Extras, spacing_mm: tuple[float, float, float]) -> None:
    coarse = shell(spacing_mm)
    cells = prod(prepare(coarse, SETTINGS, finer).grid.shape)
    assert cells <= task.spans(coarse, finer) - coarse.mask.size < 16 * cells


@given(
    st.tuples(*[st.one_of(st.integers(1, 3), st.integers(4, 60))] * 3),
    st.tuples(*[st.floats(0.1, 8)] * 3),
    st.one_of(st.floats(1.1, 6).map(lambda factor: Extras(factor=factor)), st.floats(0.5, 4).map(lambda mm: Extras(spacing_mm=mm))),
)
@settings(max_examples=200, deadline=None)
def test_what_a_thin_volume_spans_is_known_before(shape, spacing_mm, finer):
    """And no grid has more cells than are allowed."""
    volume = BinaryVolume.on_grid(np.ones(shape, np.bool_), spacing_mm)
    assume(max(volume.spacing_mm) > 1.01 * (finer.spacing_mm or 0))
    assume(volume.mask.size * prod(np.array(spacing_mm) / (finer.spacing_mm or 1)) * (finer.factor or 1) ** 3 < MOST_VOXELS / 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(super_resolution, "MOST_SPLIT_CELLS", 2**12)
        patch.setattr(super_resolution, "MOST_CELLS", 2**15)
        answer = answer_grid(volume, finer)
        coarse, target = (to_canonical(each) for each in (volume, answer))
        cells = [prod(grid.shape) for grid in super_resolution.working_grids(coarse, target, 0.4)]
        assert len(cells) < 16
        assert 0 < max(cells) <= min(task.spans(volume, finer) - volume.mask.size, 2**15)


def test_of_a_large_surface_less_is_judged_or_larger_cells_rather_than_a_refusal(monkeypatch):
    coarse = scan(shell((0.5, 0.5, 0.5)), (0.5, 0.5, 4), "mean")
    wanted = Extras(spacing_mm=0.5)
    fine = prepare(coarse, SETTINGS, wanted)
    monkeypatch.setattr(super_resolution, "MOST_SITES", np.count_nonzero(fine.sites) - 1)
    nearer = prepare(coarse, SETTINGS, wanted)
    assert nearer.grid.spacing_mm == pytest.approx(0.5)
    assert np.array_equal(nearer.sites & fine.sites, nearer.sites)
    monkeypatch.setattr(super_resolution, "MOST_SITES", np.count_nonzero(nearer.sites) - 1)
    assert prepare(coarse, SETTINGS, wanted).grid.spacing_mm == pytest.approx(1.0)
    monkeypatch.setattr(super_resolution, "MOST_SITES", 10)
    with pytest.raises(CalvariaError, match="surface"):
        prepare(coarse, SETTINGS, wanted)


@pytest.mark.parametrize("mask", [np.zeros((4, 4, 4), np.bool_), np.ones((4, 4, 4), np.bool_)])
def test_a_mask_without_a_surface_is_refused(mask):
    with pytest.raises(CalvariaError, match="mask"):
        prepare(BinaryVolume.on_grid(mask, (2, 2, 2)), SETTINGS)


@pytest.mark.parametrize(("coarse_mm", "factor"), [((4, 4, 4), 2), ((4, 4, 4), 4), ((4, 4, 4), 8), ((1, 1, 4), 2), ((3, 3, 3), 3)])
def test_true_probabilities_give_the_true_mask_on_the_wanted_grid(coarse_mm, factor):
    fine = shell(tuple(mm / factor for mm in coarse_mm))
    prepared = prepare(scan(fine, coarse_mm, "mean"), SETTINGS, Extras(factor=factor))
    truth = to_canonical(fine)
    wanted = prepared.grid.above(truth.volume).coarsen(truth.mask)
    answer = prepared.answered(task.finish(prepared, Inferred(np.where(prepared.sites, wanted, 0)), SETTINGS)["fine"])
    assert answer.same_grid(fine)
    assert dice(answer, fine) > (0.995 if prepared.grid.spacing_mm <= min(fine.spacing_mm) else 0.98)


def test_cells_that_are_voxels_are_answered_to_the_last_one():
    fine = shell()
    prepared = prepare(scan(fine, (4, 4, 4), "mean"), SETTINGS, Extras(factor=4))
    assert prepared.grid.spacing_mm == 1.0
    wanted = prepared.grid.above(fine).coarsen(fine.mask)
    assert set(np.unique(wanted)) == {0.0, 1.0}
    assert np.array_equal(prepared.answered(task.finish(prepared, Inferred(wanted), SETTINGS)["fine"]).mask, fine.mask)


def test_the_features_are_plain_interpolations_of_the_coarse_mask():
    coarse = scan(shell(), (4, 4, 4), "mean")
    prepared = prepare(coarse, SETTINGS, Extras(factor=4))
    assert prepared.features.shape == (np.count_nonzero(prepared.sites), INPUTS)
    assert prepared.features.dtype == np.float32
    first = [round((axis.start_mm + axis.cell_mm / 2) / 1.0 - 0.5) for axis in prepared.grid.axes]
    at = np.argwhere(prepared.sites) + first
    places = (at.T + 0.5) / 4 - 0.5
    linear = ndimage.map_coordinates(coarse.mask.astype(np.float64), places, order=1, mode="nearest")
    assert np.allclose(prepared.features[:, Given.LINEAR], linear, atol=1e-5)
    assert np.array_equal(prepared.features[:, Given.NEAREST], coarse.mask[tuple((at // 4).T)])


def test_beyond_the_surfaces_reach_the_coarse_mask_decides():
    """Whatever a network might say there, which it is not asked."""
    solid = BinaryVolume.on_grid(ndimage.binary_fill_holes(scan(shell(), (4, 4, 4), "mean").mask), (4, 4, 4))
    prepared = prepare(solid, SETTINGS, Extras(factor=2))
    nothing = task.finish(prepared, Inferred(np.zeros(prepared.grid.shape, np.float32)), SETTINGS)["fine"]
    assert nothing.any()
    assert not (nothing & ~prepared.answer.like(np.kron(solid.mask, np.ones((2, 2, 2), np.bool_))).mask).any()


def filled(factor: int, doubt: float, threshold: float, occupied: bool = False) -> np.ndarray:
    """How full empty coarse voxels, or occupied ones, become where the network says the same of all that is in them."""
    coarse = scan(shell(), (4, 4, 4), "mean")
    prepared = prepare(coarse, SETTINGS, Extras(factor=factor))
    said = np.where(prepared.sites, np.float32(doubt), 0)
    fine = prepared.answered(task.finish(prepared, Inferred(said), replace(SETTINGS, threshold=threshold))["fine"])
    x, y, z = coarse.shape
    along = round(4 / prepared.grid.spacing_mm)
    sites = np.zeros([count * along for count in coarse.shape], np.bool_)
    first = [round(axis.start_mm / axis.cell_mm) for axis in prepared.grid.axes]
    sites[tuple(slice(start, start + count) for start, count in zip(first, prepared.grid.shape, strict=True))] = prepared.sites
    full, asked = (each.reshape(x, count, y, count, z, count).mean(axis=(1, 3, 5)) for each, count in ((fine.mask, factor), (sites, along)))
    return full[(asked == 1) & (coarse.mask == occupied)]


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("occupied", [False, True])
def test_a_doubt_counts_more_in_occupied_coarse_voxels_of_few_voxels(monkeypatch, occupied, split):
    """Whether cells are parts of these voxels or not."""
    doubt, odds = (0.6, 1.5) if occupied else (0.2, 0.25)
    if not split:
        monkeypatch.setattr(super_resolution, "MOST_SPLIT_CELLS", 2**16)
    raised = odds * super_resolution.ODDS if occupied else odds
    assert set(filled(2, doubt, 0.5, occupied)) == {np.rint(8 * raised / (1 + raised)) / 8}
    assert filled(4, doubt, 0.5, occupied) == pytest.approx(doubt, abs=1 / 64)


@pytest.mark.parametrize(("along", "odds"), [(6, 6), (8, 6), (12, 4), (16, 3)])
@pytest.mark.parametrize("degrees", [0, 5, 12])
def test_the_more_voxels_lie_in_a_coarse_one_the_less_are_its_odds_raised(along, odds, degrees):
    """However the scan was tilted; see `test_the_threshold_moves_how_much_is_expected` for those of which there are many."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    coarse = scan(shell((0.4, 0.4, 0.4)), (0.4, 0.4, 0.4 * along), "mean")
    tilt = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    prepared = prepare(BinaryVolume(coarse.mask, tilt @ coarse.affine), SETTINGS, Extras(spacing_mm=0.4))
    raised = super_resolution._raised(np.full(len(prepared.features), 0.5, np.float32), prepared, 0.5)
    assert raised.max() == pytest.approx(odds / (1 + odds))


@pytest.mark.parametrize(("factor", "cell_mm"), [(1.5, 4 / 3), (2, 1.0), (3, 4 / 3), (4, 1.0), (8, 1.0)])
def test_cells_are_parts_of_voxels_or_made_of_them(monkeypatch, factor, cell_mm):
    """No more than four lie along a coarse voxel, and no parts where there would be many."""
    coarse = scan(shell(), (4, 4, 4), "mean")
    prepared = prepare(coarse, SETTINGS, Extras(factor=factor))
    assert prepared.grid.spacing_mm == pytest.approx(cell_mm)
    assert super_resolution.spans(coarse, Extras(factor=factor)) >= prod(prepared.grid.shape)
    monkeypatch.setattr(super_resolution, "MOST_SPLIT_CELLS", 2**16)
    assert prepare(coarse, SETTINGS, Extras(factor=factor)).grid.spacing_mm == pytest.approx(max(cell_mm, 4 / factor))


@pytest.mark.parametrize(("coarse_mm", "wanted_mm", "cell_mm"), [((1, 1, 4), 1, 1), ((0.5, 0.5, 4), 0.5, 0.5), ((0.5, 2, 4), 1, 0.5)])
def test_within_slices_cells_are_as_fine_as_pixels(coarse_mm, wanted_mm, cell_mm):
    """And judged no further away than what is between slices has to be: less of a slice than as many mm of a cube."""
    coarse = scan(shell((0.5, 0.5, 0.5)), coarse_mm, "mean")
    prepared = prepare(coarse, SETTINGS, Extras(spacing_mm=wanted_mm))
    assert prepared.grid.spacing_mm == pytest.approx(cell_mm)
    assert super_resolution.spans(coarse, Extras(spacing_mm=wanted_mm)) >= prod(prepared.grid.shape)
    between = nearest(coarse.mask, coarse, prepared.grid) != (prepared.shares > 0.5)
    assert prepared.sites[between].all()
    near = abs(sampled(super_resolution.signed_distance(coarse.mask, coarse.spacing_mm), coarse, prepared.grid)) < 1.25 * max(coarse_mm)
    assert np.count_nonzero(prepared.sites) < 0.7 * np.count_nonzero(near)


@pytest.mark.parametrize(("threshold", "share"), [(0.5, 0.25), (0.25, 0.5), (0.75, 0.1)])
def test_the_threshold_moves_how_much_is_expected(threshold, share):
    assert filled(4, 0.25, threshold) == pytest.approx(share, abs=1 / 64)


@given(st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
@settings(max_examples=10)
def test_one_anatomy_gives_one_answer_however_its_axes_run(axes, flips):
    coarse = scan(shell((1.0, 1.0, 1.0)), (4, 4, 3), "mean")
    turned = oriented(coarse, tuple(axes), flips)
    one, other = (prepare(volume, SETTINGS, Extras(factor=2)) for volume in (coarse, turned))
    assert np.array_equal(one.features, other.features)
    fields = (task.finish(each, Inferred(each.shares), SETTINGS)["fine"] for each in (one, other))
    answers = [each.answered(mask) for each, mask in zip((one, other), fields, strict=True)]
    assert np.array_equal(oriented(answers[0], tuple(axes), flips).mask, answers[1].mask)
    assert answers[1].affine == pytest.approx(answer_grid(turned, Extras(factor=2)).affine)


def test_an_unusual_spacing_is_said():
    assert task.unlike(prepare(scan(shell(), (4, 4, 4), "mean"), SETTINGS)) is None
    assert task.unlike(prepare(BinaryVolume(shell((5, 5, 5)).mask, np.diag([5.000002] * 3 + [1])), SETTINGS)) is None
    assert "9 mm" in (task.unlike(prepare(scan(shell(), (9, 9, 9), "mean"), SETTINGS)) or "")


@pytest.mark.parametrize(("mm", "factor"), [(4, 2.5), (3, 3.75), (2, 2.5), (4, 4)])
def test_what_the_network_knows_is_drawn_at_any_factor(mm, factor, monkeypatch):
    """Given the truth of every cell, whose odds need not be raised: blocks of two voxels and of three beside them leave no holes."""
    monkeypatch.setattr(super_resolution, "ODDS", 1.0)
    fine = shell((0.5, 0.5, 0.5))
    prepared = prepare(scan(fine, (mm,) * 3, "mean"), SETTINGS, Extras(factor=factor))
    truth = to_canonical(fine)
    known = prepared.grid.above(truth.volume).coarsen(truth.mask)
    answer = prepared.answered(task.finish(prepared, Inferred(known), SETTINGS)["fine"])
    wanted = WorkingGrid.filling(answer, answer.spacing_mm[0]).above(fine).coarsen(fine.mask) > 0.5
    assert dice(answer, answer.like(wanted)) > 0.98


def test_extreme_thresholds_are_met():
    assert set(filled(4, 0.9, 1 - 1e-8)) == {0.0}
    assert set(filled(4, 0.1, 1e-8)) == {0.5}


@given(st.tuples(*[st.sampled_from([2.0, 3.0, 4.0, 5.0])] * 3), st.floats(1.3, 6))
@settings(max_examples=12, deadline=None)
def test_a_grid_spans_no_more_than_was_foreseen(mm, factor):
    coarse = scan(shell((1.0, 1.0, 1.0)), mm, "mean")
    assert prod(prepare(coarse, SETTINGS, Extras(factor=factor)).grid.shape) <= super_resolution.spans(coarse, Extras(factor=factor))


def test_the_smallest_threshold_gives_the_fullest_mask():
    filled_by = [filled(4, 0.25, threshold).mean() for threshold in (0.5, 1e-3, 1e-30, 1e-45, 1e-300)]
    assert filled_by == sorted(filled_by)


def test_voxels_finer_than_any_that_are_read_are_not_made():
    coarse = BinaryVolume.on_grid(np.ones((4, 4, 4), np.bool_), (0.0015, 0.0015, 0.0015))
    with pytest.raises(CalvariaError, match="Check the unit") as refused:
        answer_grid(coarse, Extras(factor=16))
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_blocks_of_one_voxel_take_little_memory_beside_the_answer():
    coarse = shell()
    prepared = prepare(coarse, SETTINGS, Extras(factor=1.01))
    tracemalloc.start()
    task.finish(prepared, Inferred(prepared.shares), SETTINGS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6 + 8 * prepared.answer.mask.size
