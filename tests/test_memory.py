"""Memory: what is predicted from the sites alone is what PyTorch's allocator hands out, and batches are cut to it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import pad

from calvaria.bench.volumes import masks
from calvaria.memory import Load, predicted_peak_bytes, split, split_to_fit
from calvaria.networks import CONFIGS, EncoderDecoder, Level, NetworkConfig
from calvaria.plan import Plan
from calvaria.predictor import Predictor
from calvaria.sparse import SiteSet
from calvaria.synthetic import cut_defect, make_skull
from calvaria.weights import WEIGHTS, model_folder
from tests.sparse.allocations import counted

CHANNELS = {"ch1": CONFIGS["ch1"].channels, "ch2": CONFIGS["ch2"].channels, "narrow": (3,) * 7, "wide": (72,) * 7}


def sites_of(volume: str, batch: int, engine: str) -> SiteSet:
    return SiteSet.from_masks([torch.from_numpy(mask) for mask in masks(volume, batch)], engine)


def plan_of(channels: Sequence[int], head_bias: float = 0.0, **settings: float) -> Plan:
    torch.manual_seed(0)
    network = EncoderDecoder(NetworkConfig(tuple(channels), **settings)).eval()  # type: ignore[arg-type]
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, head_bias)
    return Plan(network)


def test_counting_sees_what_lives_at_once() -> None:
    def call() -> None:
        first = torch.zeros(2**20, dtype=torch.uint8)
        second = first + 1
        del first
        (second + 1).sum(dtype=torch.uint8)

    assert 2 * 2**20 <= counted(call) < 2 * 2**20 + 2**10


@pytest.mark.parametrize(
    ("volume", "batch"),
    [
        ("skull:64", 1),
        ("skull:64", 3),
        ("noise:0.05:50", 2),
        ("one:64", 1),
        ("full:37", 1),
        pytest.param("skull:192", 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("channels", CHANNELS)
def test_with_a_target_the_peak_is_known_before(volume: str, batch: int, channels: str, engine: str) -> None:
    plan, same = plan_of(CHANNELS[channels]), sites_of(volume, batch, engine)
    predicted = predicted_peak_bytes(Load.forced(same, same), plan.config, engine, "cpu", forced=True)
    sites = sites_of(volume, batch, engine)
    assert predicted == pytest.approx(counted(lambda: plan(sites, sites)), rel=0.1)


@pytest.mark.parametrize("size", [(400, 1, 1), (1, 300, 1)])
def test_the_padding_of_thin_grids_is_counted(size: tuple[int, int, int], engine: str) -> None:
    plan, mask = plan_of(CHANNELS["narrow"]), torch.ones(size, dtype=torch.bool)
    same, sites = (SiteSet.from_masks([mask], engine) for _ in range(2))
    predicted = predicted_peak_bytes(Load.forced(same, same), plan.config, engine, "cpu", forced=True)
    assert predicted == pytest.approx(counted(lambda: plan(sites, sites)), rel=0.1)


def test_numbers_that_come_with_the_sites_are_counted(engine: str) -> None:
    plan, sites = plan_of((8,) * 7, inputs=3), sites_of("skull:64", 1, engine)
    load = Load.forced(sites, sites)
    features, fresh = torch.ones(len(sites), 3), sites_of("skull:64", 1, engine)
    predicted = predicted_peak_bytes(load, plan.config, engine, "cpu", forced=True)
    assert predicted == pytest.approx(counted(lambda: plan(fresh, fresh, features=features)), rel=0.1)


@pytest.mark.parametrize("inputs", [0, 3])
@pytest.mark.parametrize(("volume", "batch"), [("skull:64", 2), ("noise:0.05:50", 1), ("one:64", 1)])
def test_a_network_that_does_not_grow_takes_less(volume: str, batch: int, inputs: int, engine: str) -> None:
    plan, sites = plan_of(CHANNELS["ch1"], inputs=inputs, grows=False), sites_of(volume, batch, engine)
    features, fresh = torch.ones(len(sites), inputs) if inputs else None, sites_of(volume, batch, engine)
    predicted = predicted_peak_bytes(Load.free(sites, plan.config.growth), plan.config, engine, "cpu")
    assert predicted == pytest.approx(counted(lambda: plan(fresh, features=features)), rel=0.1)


@pytest.mark.parametrize("growth", [1.3, 2.0])
@pytest.mark.parametrize("volume", ["skull:64", "noise:0.02:64"])
def test_a_network_that_keeps_all_it_may_takes_no_more_than_predicted_for_its_growth(volume: str, growth: float, engine: str) -> None:
    plan, sites = plan_of(CHANNELS["ch1"], head_bias=1e6, growth=growth), sites_of(volume, 2, engine)
    predicted = predicted_peak_bytes(Load.free(sites_of(volume, 2, engine), growth), plan.config, engine, "cpu")
    assert predicted == pytest.approx(counted(lambda: plan(sites)), rel=0.1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_ranking_the_sites_of_a_bounded_network_is_counted(channels: int, batch: int, engine: str) -> None:
    """With few channels it takes more than any convolution. Told is how many sites were judged, which depends on which are kept."""
    plan, sites = plan_of((channels,) * 7, head_bias=1e6, growth=1.3), sites_of("skull:64", batch, engine)
    levels: list[Level] = []
    peak = counted(lambda: levels.extend(plan(sites)))
    judged = zip(*(level.sites.counts for level in reversed(levels)), strict=True)
    loads = [replace(load, judged=each) for load, each in zip(Load.free(sites, 1.3), judged, strict=True)]
    assert predicted_peak_bytes(loads, plan.config, engine, "cpu") == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize("growth", [1.0, 1.3])
def test_thin_items_that_share_a_grid_and_are_bounded_take_no_more_than_predicted(growth: float, engine: str) -> None:
    """Nearly all of it is the grid's words, of all sites and of those that the bound leaves."""
    source = torch.Generator().manual_seed(0)
    items = [torch.rand(size, generator=source) < 0.5 for size in ((100, 2, 2), (2, 100, 2), (2, 2, 200))]
    plan, load = plan_of(CHANNELS["ch1"], head_bias=3.0, growth=growth), Load.free(SiteSet.from_masks(items, engine), growth)
    sites = SiteSet.from_masks(items, engine)
    assert predicted_peak_bytes(load, plan.config, engine, "cpu") == pytest.approx(counted(lambda: plan(sites)), rel=0.05)


def test_the_shipped_network_keeps_about_what_the_encoder_has(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder("completion")
    if not (folder / WEIGHTS).exists():
        pytest.skip(f"{folder / WEIGHTS} is absent: train it with `make train`")
    predictor = Predictor.load(folder)
    decide, seen = predictor.first.decide, []

    def watched(sites: SiteSet, **features: object) -> list[Level]:
        loads = Load.free(SiteSet(sites.words, sites.extents, 1, sites.engine), kept=1.05)
        predicted = predicted_peak_bytes(loads, predictor.network.config, sites.engine, "cpu")
        seen.append((counted(lambda: decide(SiteSet(sites.words, sites.extents, 1, sites.engine), **features)), predicted))
        return decide(sites, **features)

    monkeypatch.setattr(predictor.first, "decide", watched)
    skull = make_skull(11, 1.5)
    for batch in ([1], [2, 3, 4]):
        predictor.infer([predictor.prepare(cut_defect(skull, seed).defective) for seed in batch])
    assert [predicted for _, predicted in seen] == [pytest.approx(peak, rel=0.1) for peak, _ in seen]


def test_a_batch_brings_what_its_items_bring() -> None:
    items = [torch.from_numpy(masks("noise:0.1:20", 1)[0]), torch.from_numpy(masks("shell:33", 1)[0])]
    together, alone = SiteSet.from_masks(items), [SiteSet.from_masks([item]) for item in items]
    assert Load.free(together, 1.2) == [load for sites in alone for load in Load.free(sites, 1.2)]
    assert Load.forced(together, together) == [load for sites in alone for load in Load.forced(sites, sites)]


@given(st.lists(st.integers(0, 12)), st.integers(0, 12), st.integers(0, 5))
def test_pieces_are_in_order_full_and_within_the_budget(items: list[int], budget: int, fixed: int) -> None:
    def peak(piece: Sequence[int]) -> int:
        return fixed + sum(piece)

    pieces = split(items, lambda piece: peak(piece) <= budget)
    assert [item for piece in pieces for item in piece] == items
    assert all(piece and (peak(piece) <= budget or len(piece) == 1) for piece in pieces)
    assert all(peak([*piece, after[0]]) > budget for piece, after in pairwise(pieces))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6))
def test_items_that_share_a_grid_are_cut_by_what_they_take_together(sizes: list[tuple[int, int]]) -> None:
    """A tall and a broad item share a grid that is both; the prediction, not the sum of what each takes, decides."""
    loads = [load for x, y in sizes for load in Load.free(SiteSet.from_masks([torch.ones(8 * x, 8 * y, 3, dtype=torch.bool)]), 2.0)]

    def peak(piece: Sequence[Load]) -> int:
        return predicted_peak_bytes(piece, CONFIGS["ch1"], "reference", "cpu")

    budget = max(peak([load]) for load in loads)
    pieces = split(loads, lambda piece: peak(piece) <= budget)
    assert [load for piece in pieces for load in piece] == loads
    assert all(peak(piece) <= budget for piece in pieces)


def test_a_batch_is_cut_so_that_a_network_that_keeps_all_it_may_stays_within_the_budget(engine: str) -> None:
    items = [torch.from_numpy(mask) for mask in (*masks("noise:0.1:24", 3), *masks("skull:40", 2))]
    plan, before = plan_of((4,) * 7, head_bias=1e6), (13, 29, 45)

    def peak(piece: Sequence[torch.Tensor]) -> int:
        sites = SiteSet.from_masks([*piece, *(pad(item.flip(0), (45, 0, 29, 0, 13, 0)) for item in piece)], engine)
        return counted(lambda: plan(sites))

    budget = round(1.1 * max(peak(items[:2]), peak(items[3:4])))
    pieces = split_to_fit(items, lambda item: item, plan.config, engine, torch.device("cpu"), budget, [(0, 0, 0), before])
    assert [id(item) for piece in pieces for item in piece] == [id(item) for item in items]
    assert max(len(piece) for piece in pieces) > 1
    assert all(peak(piece) <= 1.05 * budget for piece in pieces)


def test_a_batch_is_cut_where_a_gpu_could_not_number_the_cells_of_the_grid_that_holds_it() -> None:
    """Three thin items that take little memory: the grid around all of them has 2.3 · 10^9 cells."""
    pytest.importorskip("triton", reason="Triton is not installed: it knows what a GPU can number")
    items = [torch.ones(size, dtype=torch.bool) for size in ((900, 1, 1), (1, 900, 1), (1, 1, 900))]
    arguments = lambda item: item, CONFIGS["ch1"], "native"
    assert [len(piece) for piece in split_to_fit(items, *arguments, torch.device("cpu"), 2**31)] == [3]
    assert [len(piece) for piece in split_to_fit(items, *arguments, torch.device("cuda"), 2**31)] == [2, 1]
