import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.evaluation.cubes import coarsened
from calvaria.evaluation.interpolation import BASELINES, linear, nearest_neighbour, shape_based
from calvaria.evaluation.metrics import dice
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume, Mask


@st.composite
def coarse_masks(draw: st.DrawFn) -> BinaryVolume:
    """Speckle or blobs, some touching the border, none empty or full, on voxels that may be longer along one axis."""
    shape = draw(st.tuples(*[st.integers(3, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = ndimage.gaussian_filter(rng.random(shape), draw(st.sampled_from([0.0, 1.0])))
    mask = noise > np.quantile(noise, draw(st.sampled_from([0.3, 0.7, 0.95])))
    mask.flat[[0, -1]] = draw(st.sampled_from([(True, False), (False, True)]))
    return BinaryVolume.on_grid(mask, draw(st.sampled_from([(2.0, 2.0, 2.0), (1.0, 1.0, 4.0)])), (7.0, -3.0, 5.0))


def zoomed(values: np.ndarray, factor: int) -> np.ndarray:
    """Trilinear interpolation by SciPy: voxels are areas, and the border is held."""
    return ndimage.zoom(values.astype(np.float64), factor, order=1, mode="nearest", grid_mode=True)


def agree(made: Mask, values: np.ndarray, threshold: float) -> bool:
    """Whether a mask is where the values exceed a threshold, but where they equal it up to rounding."""
    certain = abs(values - threshold) > 1e-4
    return bool((made == (values > threshold))[certain].all())


@given(coarse_masks(), st.sampled_from([2, 3, 4]))
def test_interpolations_agree_with_scipys(coarse: BinaryVolume, factor: int) -> None:
    finer = Extras(factor=factor)
    repeated = coarse.mask.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
    np.testing.assert_array_equal(nearest_neighbour(coarse, finer).mask, repeated)
    assert agree(linear(coarse, finer).mask, zoomed(coarse.mask, factor), 0.5)
    inside, outside = (ndimage.distance_transform_edt(mask, sampling=coarse.spacing_mm) for mask in (coarse.mask, ~coarse.mask))
    assert agree(shape_based(coarse, finer).mask, zoomed(inside - outside, factor), 0.0)


@given(coarse_masks(), st.sampled_from([0.4, 0.5, 0.7]))
def test_a_spacing_is_as_good_as_a_factor(coarse: BinaryVolume, spacing_mm: float) -> None:
    made = {name: baseline(coarse, Extras(spacing_mm=spacing_mm)) for name, baseline in BASELINES.items()}
    one, *others = made.values()
    assert all(one.same_grid(other) for other in others)
    extent = np.array(coarse.shape) * coarse.spacing_mm
    np.testing.assert_allclose(np.array(one.shape) * one.spacing_mm, extent, atol=spacing_mm / 2 + 1e-9)
    fine = np.stack([*np.indices(one.shape), np.ones(one.shape)], axis=-1)
    places = (fine @ (np.linalg.inv(coarse.affine) @ one.affine).T)[..., :3]
    inside = np.rint(places).astype(int).clip(0, np.array(coarse.shape) - 1)
    certain = (abs(places - np.floor(places) - 0.5) > 1e-6).all(axis=-1)
    np.testing.assert_array_equal(made["nearest"].mask[certain], coarse.mask[tuple(np.moveaxis(inside, -1, 0))][certain])


def test_shape_based_is_the_best_of_a_slanted_bar_between_distant_slices() -> None:
    x, _, z = np.meshgrid(*[np.arange(60)] * 3, indexing="ij")
    bar = BinaryVolume.on_grid(abs(x - 10 - 0.6 * z) < 4, (1.0, 1.0, 1.0))
    coarse = coarsened(bar, (1, 1, 6), "mean")
    scores = {name: dice(baseline(coarse, Extras(spacing_mm=1.0)).mask, bar.mask) for name, baseline in BASELINES.items()}
    assert max(scores, key=lambda name: scores[name]) == "shape-based"
    assert scores["shape-based"] > scores["nearest"] + 0.05
