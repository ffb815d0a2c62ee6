"""Site sets: masks in and out, parents, ranks, and batches of unequal volumes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.sparse import SiteSet
from calvaria.sparse.taps import taps

masks = st.builds(
    lambda size, share, seed: torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share,
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.integers(0, 99),
)


@given(st.lists(masks, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_masks_go_in_and_come_out(batch: list[torch.Tensor]) -> None:
    sites = SiteSet.from_masks(batch)
    assert all(torch.equal(a, b) for a, b in zip(sites.masks(), batch, strict=True))
    assert sites.counts == [int(mask.sum()) for mask in batch]


@given(st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_coordinates_name_the_occupied_voxels_in_raster_order(batch: list[torch.Tensor]) -> None:
    expected = [[i, *voxel] for i, mask in enumerate(batch) for voxel in mask.nonzero().tolist()]
    assert SiteSet.from_masks(batch).coordinates.tolist() == expected


@given(st.lists(masks, min_size=1, max_size=3), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_parent_exists_where_any_child_does(batch: list[torch.Tensor], doublings: int) -> None:
    sites = SiteSet.from_masks(batch)
    for _ in range(doublings):
        sites = sites.parents
    stride = 2**doublings
    assert sites.stride == stride
    for coarse, mask in zip(sites.masks(), batch, strict=True):
        pooled = torch.nn.functional.max_pool3d(mask.float()[None], stride, ceil_mode=True)[0] > 0
        assert torch.equal(coarse, pooled)


@given(st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_neighbours_mirror_each_other(batch: list[torch.Tensor]) -> None:
    sites = SiteSet.from_masks(batch, "reference")
    for tap in range(27):
        under = sites.neighbours[:, tap]
        rows = (under < len(sites)).nonzero().flatten()
        assert torch.equal(sites.neighbours[under[rows].long(), 26 - tap].long(), rows)
    assert torch.equal(sites.neighbours[:, 13].long(), torch.arange(len(sites)))


def test_taps_are_ordered_x_fastest() -> None:
    assert taps(3)[:4] == [(-1, -1, -1), (0, -1, -1), (1, -1, -1), (-1, 0, -1)]
    assert taps(2)[:3] == [(0, 0, 0), (1, 0, 0), (0, 1, 0)]


@pytest.mark.parametrize(
    "bad", [[], [torch.zeros(2, 2, 2)], [torch.zeros(2, 2, dtype=torch.bool)], [torch.zeros(2, 0, 2, dtype=torch.bool)]]
)
def test_only_masks_of_three_axes_are_taken(bad: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="bool masks"):
        SiteSet.from_masks(bad)
