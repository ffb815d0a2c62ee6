"""Every sparse operation against dense convolutions, values and gradients, on random occupancies, batches and borders."""

from dataclasses import replace

import pytest
import torch
from dense import OPERATIONS, flags, reached, read, scatter
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.sparse import SiteSet, SparseTensor, convolve, downsample, generate, restrict, union
from calvaria.sparse.reference import GATHER_LIMIT

SPARSE = {"convolve": convolve, "downsample": downsample, "generate 2": generate, "generate 4": generate}

extents = st.tuples(*[st.integers(1, 9)] * 3)
batches = st.lists(extents, min_size=1, max_size=3)
shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])


def random_sites(sizes: list[tuple[int, int, int]], share: float, seed: int, stride: int = 1) -> SiteSet:
    """Sites at a stride of items whose grids at that stride have these sizes, less an odd remainder at stride 1."""
    random = torch.Generator().manual_seed(seed)
    masks = [torch.rand(size, generator=random) < share for size in sizes]
    sites = SiteSet.from_masks(masks, "reference")
    clipped = tuple((x * stride - seed % stride, y * stride, z * stride - seed % stride) for x, y, z in sizes)
    return replace(sites, extents=clipped, stride=stride)


def random_features(sites: SiteSet, channels: int, seed: int) -> SparseTensor:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(len(sites), channels, generator=random, dtype=torch.float64)
    return SparseTensor(sites, features.requires_grad_())


@pytest.mark.parametrize("name", OPERATIONS)
@given(sizes=batches, share=shares, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_operation_and_its_gradients_equal_the_dense_ones(name: str, sizes: list[tuple[int, int, int]], share: float, seed: int) -> None:
    volume, dense = OPERATIONS[name]
    x = random_features(random_sites(sizes, share, seed, stride=2), 3, seed)
    weight = torch.randn(volume, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)

    ours = SPARSE[name](x, weight)
    theirs = read(dense(x, weight), ours.sites)
    torch.testing.assert_close(ours.features, theirs)

    upstream = torch.randn(ours.features.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    wanted = torch.autograd.grad((theirs * upstream).sum(), (x.features, weight))
    torch.testing.assert_close(torch.autograd.grad((ours.features * upstream).sum(), (x.features, weight)), wanted)


@given(sizes=batches, share=shares, seed=st.integers(0, 99), size=st.sampled_from([2, 4]), stride=st.sampled_from([2, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_generation_reaches_all_its_kernel_covers_inside_each_items_own_extent(
    sizes: list[tuple[int, int, int]], share: float, seed: int, size: int, stride: int
) -> None:
    sites = random_sites(sizes, share, seed, stride)
    fine = sites.reached(size)
    grid = reached(sites, size)
    x, y, z = fine.shape[1:]
    assert torch.equal(flags(fine), grid[:, :x, :y, :z])
    assert not grid[:, x:].any()
    assert not grid[:, :, y:].any()
    assert not grid[:, :, :, z:].any()


def test_a_convolution_larger_than_one_block_of_gathered_rows_equals_the_dense_one() -> None:
    channels = 32
    side = round((3 * GATHER_LIMIT / (27 * channels)) ** (1 / 3)) + 1
    x = random_features(random_sites([(side, side, side)], 0.9, 0), channels, 0)
    weight = torch.randn(27, channels, 1, dtype=torch.float64, requires_grad=True)
    ours = convolve(x, weight)
    theirs = read(OPERATIONS["convolve"][1](x, weight), ours.sites)
    torch.testing.assert_close(ours.features, theirs)
    wanted = torch.autograd.grad(theirs.sum(), (x.features, weight))
    torch.testing.assert_close(torch.autograd.grad(ours.features.sum(), (x.features, weight)), wanted)


@given(sizes=batches, seed=st.integers(0, 99), shares=st.tuples(shares, shares))
@settings(max_examples=40, deadline=None)
def test_union_adds_over_the_sites_of_either(sizes: list[tuple[int, int, int]], seed: int, shares: tuple[float, float]) -> None:
    a, b = (random_features(random_sites(sizes, share, seed + i), 2, seed + i) for i, share in enumerate(shares))
    both = union(a, b)
    assert torch.equal(flags(both.sites), flags(a.sites) | flags(b.sites))
    torch.testing.assert_close(scatter(both), scatter(a) + scatter(b))
    gradient = torch.autograd.grad(both.features.square().sum(), (a.features, b.features))
    wanted = torch.autograd.grad((scatter(a) + scatter(b)).square().sum(), (a.features, b.features))
    torch.testing.assert_close(gradient, wanted)


@given(sizes=batches, share=shares, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_pruning_keeps_the_chosen_sites_and_their_features(sizes: list[tuple[int, int, int]], share: float, seed: int) -> None:
    x = random_features(random_sites(sizes, share, seed), 2, seed)
    keep = torch.rand(len(x.sites), generator=torch.Generator().manual_seed(seed)) < 0.5
    kept, dropped = restrict(x, x.sites.select(keep)), restrict(x, x.sites.select(~keep))
    torch.testing.assert_close(scatter(kept) + scatter(dropped), scatter(x))
    assert len(kept.sites) == int(keep.sum())


def test_features_must_lie_on_their_sites() -> None:
    sites = random_sites([(3, 3, 3)], 1.0, 0)
    with pytest.raises(ValueError, match="26 rows of features for 27 sites"):
        SparseTensor(sites, torch.zeros(26, 1))


def test_sets_of_different_grids_do_not_mix() -> None:
    with pytest.raises(ValueError, match="different grids"):
        random_sites([(3, 3, 3)], 1.0, 0).union(random_sites([(3, 3, 4)], 1.0, 0))
