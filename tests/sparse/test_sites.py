"""Site sets: masks in and out, parents, ranks, and batches of unequal volumes."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.sparse import SiteSet
from calvaria.sparse.taps import taps

masks = st.builds(
    lambda size, share, seed: torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.one_of(st.integers(1, 9), st.integers(60, 140))),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.integers(0, 99),
)


@given(batch=st.lists(masks, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_masks_go_in_and_come_out(batch: list[torch.Tensor], engine: str) -> None:
    sites = SiteSet.from_masks(batch, engine)
    assert all(torch.equal(a, b) for a, b in zip(sites.masks(), batch, strict=True))
    assert sites.counts == [int(mask.sum()) for mask in batch]


@given(batch=st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_coordinates_name_the_occupied_voxels_in_raster_order(batch: list[torch.Tensor], engine: str) -> None:
    expected = [[i, *voxel] for i, mask in enumerate(batch) for voxel in mask.nonzero().tolist()]
    assert SiteSet.from_masks(batch, engine).coordinates.tolist() == expected


@given(batch=st.lists(masks, min_size=1, max_size=3), random=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_coordinates_in_any_order_and_doubled_make_the_sites_again(batch: list[torch.Tensor], random: Random, engine: str) -> None:
    sites = SiteSet.from_masks(batch, engine).parents
    shuffled = [row for row in sites.coordinates.tolist() for _ in range(2)]
    random.shuffle(shuffled)
    again = SiteSet.from_coordinates(torch.tensor(shuffled, dtype=torch.int32).view(-1, 4), sites.extents, sites.stride, engine)
    assert torch.equal(again.words, sites.words)


@given(batch=st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_values_spread_to_where_the_sites_are(batch: list[torch.Tensor], engine: str) -> None:
    sites = SiteSet.from_masks(batch, engine)
    values = torch.arange(1.0, len(sites) + 1)
    spread = sites.spread(values, absent=-1.0)
    assert torch.cat([item[mask] for item, mask in zip(spread, batch, strict=True)]).tolist() == values.tolist()
    assert all((item[~mask] == -1).all() for item, mask in zip(spread, batch, strict=True))


@given(batch=st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_on_the_host_sites_and_values_are_what_they_were(batch: list[torch.Tensor], engine: str) -> None:
    sites = SiteSet.from_masks(batch, engine)
    assert all(torch.equal(a, b) for a, b in zip(sites.on_host.masks(), sites.masks(), strict=True))
    values = torch.rand(len(sites), generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(sites.host_spread(values), sites.spread(values), strict=True))


@given(batch=st.lists(masks, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_rows_name_where_a_site_of_another_set_lies(batch: list[torch.Tensor], engine: str) -> None:
    sites, other = SiteSet.from_masks(batch, engine), SiteSet.from_masks([mask.roll(1, 2) for mask in batch], engine)
    position = {tuple(place): row for row, place in enumerate(sites.places.tolist())}
    assert sites.rows_of(other).tolist() == [position.get(tuple(place), len(sites)) for place in other.places.tolist()]
    assert torch.equal(sites.union(other).words, sites.words | other.words)
    assert sites.intersection(other).counts == [int((a & a.roll(1, 2)).sum()) for a in batch]


@given(batch=st.lists(masks, min_size=1, max_size=3), doublings=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_parent_exists_where_any_child_does(batch: list[torch.Tensor], doublings: int, engine: str) -> None:
    sites = SiteSet.from_masks(batch, engine)
    for _ in range(doublings):
        sites = sites.parents
    stride = 2**doublings
    assert sites.stride == stride
    for coarse, mask in zip(sites.masks(), batch, strict=True):
        pooled = torch.nn.functional.max_pool3d(mask.float()[None], stride, ceil_mode=True)[0] > 0
        assert torch.equal(coarse, pooled)


@given(batch=st.lists(masks, min_size=1, max_size=3))
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


@pytest.mark.parametrize(
    "place", [(0, 0, 0, 70), (0, -1, 0, 0), (1, 4, 0, 0), (2, 0, 0, 0)], ids=["beyond", "before", "of a neighbour", "no item"]
)
def test_a_site_outside_its_item_is_refused(place: tuple[int, int, int, int], engine: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        SiteSet.from_coordinates(torch.tensor([(0, 0, 0, 0), place], dtype=torch.int32), [(5, 4, 66), (4, 4, 3)], engine=engine)


@pytest.mark.parametrize("stride", [1, 2])
def test_numbers_beyond_int32_do_not_wrap_into_the_grid(stride: int, engine: str) -> None:
    places = torch.tensor([(0, 0, 0, 0), (0, 2**32 + 2, 0, 0)])
    with pytest.raises(ValueError, match="outside"):
        SiteSet.from_coordinates(places, [(5, 4, 66)], stride, engine)
    assert SiteSet.from_coordinates(places[:1], [(5, 4, 66)], stride, engine).counts == [1]


def test_decisions_and_values_may_lie_in_memory_as_they_like(engine: str) -> None:
    sites = SiteSet.from_masks([torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0)) < 0.5], engine)
    values = torch.arange(2.0 * len(sites)).view(-1, 2)[:, 0]
    strided = torch.stack([values > 9, values > 0], dim=1)[:, 0]
    assert torch.equal(sites.select(strided).words, sites.select(strided.contiguous()).words)
    assert torch.equal(sites.spread(values)[0], sites.spread(values.contiguous())[0])
