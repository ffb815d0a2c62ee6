"""Every sparse operation against dense convolutions, values and gradients, on random occupancies, batches and borders."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.sparse import SiteSet, SparseTensor, convolve, downsample, generate, restrict, stem, union
from calvaria.sparse.reference import GATHER_LIMIT
from tests.sparse.dense import OPERATIONS, flags, reached, read, scatter

SPARSE = {"convolve": convolve, "downsample": downsample, "generate 2": generate, "generate 4": generate}

PRECISION = {"reference": torch.float64, "native": torch.float32}

extents = st.tuples(*[st.integers(1, 9)] * 3)
batches = st.lists(extents, min_size=1, max_size=3)
shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])


def random_sites(sizes: list[tuple[int, int, int]], share: float, seed: int, engine: str, stride: int = 1) -> SiteSet:
    """Sites at a stride of items whose grids at that stride have these sizes, less an odd remainder at stride 1."""
    random = torch.Generator().manual_seed(seed)
    masks = [torch.rand(size, generator=random) < share for size in sizes]
    sites = SiteSet.from_masks(masks, engine)
    clipped = tuple((x * stride - seed % stride, y * stride, z * stride - seed % stride) for x, y, z in sizes)
    return replace(sites, extents=clipped, stride=stride)


def random_features(sites: SiteSet, channels: int, seed: int) -> SparseTensor:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(len(sites), channels, generator=random, dtype=PRECISION[sites.engine])
    return SparseTensor(sites, features.requires_grad_())


def in_double(x: SparseTensor) -> SparseTensor:
    """The same for the oracle, with a gradient of its own."""
    return SparseTensor(x.sites, x.features.detach().double().requires_grad_())


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal but for rounding, which in single precision goes with the largest value."""
    size = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5}[ours.dtype] * max(1.0, size)
    torch.testing.assert_close(ours.double(), theirs.double(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", OPERATIONS)
@given(sizes=batches, share=shares, seed=st.integers(0, 99), channels=st.tuples(*[st.integers(1, 20)] * 2))
@settings(max_examples=40, deadline=None)
def test_operation_and_its_gradients_equal_the_dense_ones(
    name: str, sizes: list[tuple[int, int, int]], share: float, seed: int, channels: tuple[int, int], engine: str
) -> None:
    volume, dense = OPERATIONS[name]
    x = random_features(random_sites(sizes, share, seed, engine, stride=2), channels[0], seed)
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(volume, *channels, generator=random, dtype=x.features.dtype, requires_grad=True)
    oracle, oracle_weight = in_double(x), weight.detach().double().requires_grad_()

    ours = SPARSE[name](x, weight)
    theirs = read(dense(oracle, oracle_weight), ours.sites)
    assert_close(ours.features, theirs)

    upstream = torch.randn(ours.features.shape, dtype=ours.features.dtype, generator=random)
    gradients = torch.autograd.grad(ours.features, (x.features, weight), upstream)
    wanted = torch.autograd.grad(theirs, (oracle.features, oracle_weight), upstream.double())
    for mine, other in zip(gradients, wanted, strict=True):
        assert_close(mine, other)


@given(sizes=batches, share=shares, seed=st.integers(0, 99), channels=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_the_stem_and_its_gradient_equal_a_convolution_of_ones(
    sizes: list[tuple[int, int, int]], share: float, seed: int, channels: int, engine: str
) -> None:
    sites = random_sites(sizes, share, seed, engine)
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(27, 1, channels, generator=random, dtype=PRECISION[engine], requires_grad=True)
    oracle = weight.detach().double().requires_grad_()
    ours = stem(sites, weight).features
    theirs = read(OPERATIONS["convolve"][1](SparseTensor(sites, torch.ones(len(sites), 1, dtype=torch.float64)), oracle), sites)
    assert_close(ours, theirs)
    upstream = torch.randn(ours.shape, dtype=ours.dtype, generator=random)
    (gradient,) = torch.autograd.grad(ours, weight, upstream)
    assert_close(gradient, torch.autograd.grad(theirs, oracle, upstream.double())[0])


@given(sizes=batches, share=shares, seed=st.integers(0, 99), size=st.sampled_from([2, 4]), stride=st.sampled_from([2, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_generation_reaches_all_its_kernel_covers_inside_each_items_own_extent(
    sizes: list[tuple[int, int, int]], share: float, seed: int, size: int, stride: int, engine: str
) -> None:
    sites = random_sites(sizes, share, seed, engine, stride)
    fine = sites.reached(size)
    grid = reached(sites, size)
    x, y, z = fine.shape[1:]
    assert torch.equal(flags(fine), grid[:, :x, :y, :z])
    assert not grid[:, x:].any()
    assert not grid[:, :, y:].any()
    assert not grid[:, :, :, z:].any()


@pytest.mark.parametrize(("side", "channels"), [(34, 32), (130, 3)])
def test_a_convolution_larger_than_one_block_of_work_equals_the_dense_one(side: int, channels: int, engine: str) -> None:
    x = random_features(random_sites([(20, 34, side)], 0.9, 0, engine), channels, 0)
    assert 27 * channels * len(x.sites) > 3 * GATHER_LIMIT
    weight = torch.randn(27, channels, 2, dtype=x.features.dtype, generator=torch.Generator().manual_seed(0), requires_grad=True)
    oracle, oracle_weight = in_double(x), weight.detach().double().requires_grad_()
    ours = convolve(x, weight)
    theirs = read(OPERATIONS["convolve"][1](oracle, oracle_weight), ours.sites)
    assert_close(ours.features, theirs)
    gradients = torch.autograd.grad(ours.features.square().sum() / 2, (x.features, weight))
    wanted = torch.autograd.grad(theirs.square().sum() / 2, (oracle.features, oracle_weight))
    for mine, other in zip(gradients, wanted, strict=True):
        assert_close(mine, other)


@given(sizes=batches, seed=st.integers(0, 99), shares=st.tuples(shares, shares))
@settings(max_examples=40, deadline=None)
def test_union_adds_over_the_sites_of_either(
    sizes: list[tuple[int, int, int]], seed: int, shares: tuple[float, float], engine: str
) -> None:
    a, b = (random_features(random_sites(sizes, share, seed + i, engine), 2, seed + i) for i, share in enumerate(shares))
    both = union(a, b)
    assert torch.equal(flags(both.sites), flags(a.sites) | flags(b.sites))
    torch.testing.assert_close(scatter(both), scatter(a) + scatter(b))
    gradient = torch.autograd.grad(both.features.square().sum(), (a.features, b.features))
    wanted = torch.autograd.grad((scatter(a) + scatter(b)).square().sum(), (a.features, b.features))
    torch.testing.assert_close(gradient, wanted)


@given(sizes=batches, share=shares, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_pruning_keeps_the_chosen_sites_and_their_features(sizes: list[tuple[int, int, int]], share: float, seed: int, engine: str) -> None:
    x = random_features(random_sites(sizes, share, seed, engine), 2, seed)
    keep = torch.rand(len(x.sites), generator=torch.Generator().manual_seed(seed)) < 0.5
    kept, dropped = restrict(x, x.sites.select(keep)), restrict(x, x.sites.select(~keep))
    assert len(kept.sites) == int(keep.sum())
    torch.testing.assert_close(scatter(kept) + scatter(dropped), scatter(x))
    assert torch.equal(kept.features, x.features[keep])


@pytest.mark.parametrize("name", OPERATIONS)
def test_features_and_weights_may_lie_in_memory_as_they_like(name: str, engine: str) -> None:
    volume, _ = OPERATIONS[name]
    sites = random_sites([(6, 5, 70)], 0.3, 0, engine, stride=2)
    random = torch.Generator().manual_seed(0)
    features = torch.randn(3, len(sites), generator=random, dtype=PRECISION[engine]).t()
    weight = torch.randn(volume, 2, 3, generator=random, dtype=PRECISION[engine]).transpose(1, 2)
    operation = SPARSE[name]
    plain = operation(SparseTensor(sites, features.contiguous()), weight.contiguous())
    assert torch.equal(operation(SparseTensor(sites, features), weight).features, plain.features)


def test_features_must_lie_on_their_sites() -> None:
    sites = random_sites([(3, 3, 3)], 1.0, 0, "reference")
    with pytest.raises(ValueError, match="26 rows of features for 27 sites"):
        SparseTensor(sites, torch.zeros(26, 1))


def test_sets_of_different_grids_do_not_mix() -> None:
    with pytest.raises(ValueError, match="different grids"):
        random_sites([(3, 3, 3)], 1.0, 0, "reference").union(random_sites([(3, 3, 4)], 1.0, 0, "reference"))
