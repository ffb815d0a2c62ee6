"""Bits of a grid against plain NumPy: the reference engine, and the native one with the kernels of every instruction set there is."""

from collections.abc import Iterator
from itertools import permutations, product
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calvaria.sparse import native, reference
from calvaria.sparse.engine import Bits, Shape

Grid = np.ndarray[Any, np.dtype[np.bool_]]

sizes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 2, 5, 63, 64, 65, 127, 128, 129, 200]))
shares = st.sampled_from([0.0, 0.05, 0.5, 1.0])
thorough = settings(max_examples=60, deadline=None)


def random_grid(size: tuple[int, ...], share: float, seed: int) -> Grid:
    return np.random.default_rng(seed).random(size) < share


grids = st.builds(random_grid, st.builds(lambda batch, size: (batch, *size), st.integers(1, 3), sizes), shares, st.integers(0, 999))


@pytest.fixture(scope="module", params=["reference", *native.levels()])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "reference":
        yield reference
    else:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("calvaria.sparse.native.library.simd", lambda: request.param)
            yield native


def words_of(grid: Grid) -> Tensor:
    """The layout that `calvaria.sparse.engine` defines, by NumPy."""
    padded = np.pad(grid, [(0, 0)] * (grid.ndim - 1) + [(0, -grid.shape[-1] % 64)])
    return torch.from_numpy(np.packbits(np.ascontiguousarray(padded), axis=-1, bitorder="little").view(np.int64))


def cells_of(words: Tensor, depth: int) -> Grid:
    flags: Grid = np.unpackbits(words.numpy().view(np.uint8), axis=-1, bitorder="little").astype(bool)
    assert not flags[..., depth:].any(), "bits past the depth are zero"
    return flags[..., :depth]


def bits_of(grid: Grid) -> Bits:
    words = words_of(grid)
    populations = np.unpackbits(words.numpy().view(np.uint8)).reshape(-1, 64).sum(1)
    return Bits(words, torch.from_numpy(np.concatenate([[0], populations.cumsum()]).astype(np.int32)), int(grid.sum()))


def same(a: Tensor, b: Grid | Tensor) -> bool:
    return torch.equal(a, torch.as_tensor(b))


@given(sizes, shares, st.permutations(range(3)), st.tuples(*[st.integers(0, 2)] * 3))
@thorough
def test_a_mask_of_any_memory_order_becomes_bits(engine: Any, size: tuple[int, ...], share: float, order: list[int], more: Any) -> None:
    stored = random_grid(tuple(size[axis] for axis in order), share, 1)
    mask = stored.transpose(np.argsort(order))
    words = torch.zeros(size[0] + more[0], size[1] + more[1], -(-size[2] // 64) + more[2], dtype=torch.int64)
    engine.pack(torch.from_numpy(mask), words)
    room = np.zeros((words.shape[0], words.shape[1], words.shape[2] * 64), bool)
    room[: size[0], : size[1], : size[2]] = mask
    assert same(words, words_of(room))


def test_lines_longer_than_a_tile_of_any_memory_order(engine: Any) -> None:
    for order in permutations(range(3)):
        mask = random_grid((130, 67, 600), 0.3, 2).transpose(order)
        words = torch.zeros(*mask.shape[:2], -(-mask.shape[2] // 64), dtype=torch.int64)
        engine.pack(torch.from_numpy(mask), words)
        assert same(words, words_of(mask)), order


@given(grids)
@thorough
def test_bits_become_masks(engine: Any, grid: Grid) -> None:
    words = words_of(grid)
    _, x, y, z = grid.shape
    assert same(engine.unpack(words, z), grid)
    corner = words[0, : x // 2 + 1, : y // 2 + 1]
    assert same(engine.unpack(corner, z // 2 + 1), grid[0, : x // 2 + 1, : y // 2 + 1, : z // 2 + 1])


@given(grids)
@thorough
def test_ranks_and_coordinates(engine: Any, grid: Grid) -> None:
    bits, expected = engine.index(words_of(grid)), bits_of(grid)
    assert bits.starts.dtype == torch.int32
    assert same(bits.starts, expected.starts)
    assert bits.count == expected.count
    assert engine.coordinates(bits).dtype == torch.int32
    assert same(engine.coordinates(bits), np.argwhere(grid).astype(np.int32))


@given(grids, st.randoms(use_true_random=False), st.sampled_from([torch.int32, torch.int64]))
@thorough
def test_coordinates_in_any_order_and_doubled_mark_the_grid(engine: Any, grid: Grid, random: Random, dtype: torch.dtype) -> None:
    listed = np.argwhere(grid).tolist() * 2
    random.shuffle(listed)
    shape: Shape = grid.shape  # type: ignore[assignment]
    assert same(engine.mark(torch.tensor(listed, dtype=dtype).view(-1, 4), shape), words_of(grid))


@given(grids)
@thorough
def test_parents_hold_a_child(engine: Any, grid: Grid) -> None:
    b, x, y, z = grid.shape
    expected = np.zeros((b, -(-x // 2), -(-y // 2), -(-z // 2)), bool)
    for i, j, k in product((0, 1), repeat=3):
        part = grid[:, i::2, j::2, k::2]
        expected[:, : part.shape[1], : part.shape[2], : part.shape[3]] |= part
    assert same(engine.parents(words_of(grid)), words_of(expected))


@given(sizes, st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=3), shares, st.sampled_from([2, 4]))
@thorough
def test_children_fill_the_kernels_reach_within_each_item(engine: Any, size: Any, smaller: Any, share: float, kernel: int) -> None:
    limits = [[max(1, round(axis * part)) for axis, part in zip(size, parts, strict=True)] for parts in smaller]
    coarse = random_grid((len(limits), *[-(-axis // 2) for axis in size]), share, 3)
    expected = np.zeros((len(limits), *[axis + axis % 2 + 2 for axis in size]), bool)
    for b, i, j, k in np.argwhere(coarse):
        expected[b, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel, 2 * k : 2 * k + kernel] = True
    for item, (x, y, z) in zip(expected, limits, strict=True):
        item[x:], item[:, y:], item[:, :, z:] = False, False, False
    expected = expected[:, : size[0], : size[1], : size[2]]
    words = engine.children(words_of(coarse), torch.tensor(limits), (len(limits), *size), kernel)
    assert same(words, words_of(expected))


@given(grids, st.sampled_from([0.0, 0.4, 1.0]))
@thorough
def test_selected_sites_stay(engine: Any, grid: Grid, share: float) -> None:
    keep = random_grid((int(grid.sum()),), share, 4)
    expected = grid.copy()
    expected[grid] = keep
    assert same(engine.select(bits_of(grid), torch.from_numpy(keep)), words_of(expected))


@given(grids, st.one_of(shares, st.none()))
@thorough
def test_rows_of_wanted_sites(engine: Any, grid: Grid, share: float | None) -> None:
    wanted = grid if share is None else random_grid(grid.shape, share, 5)
    rows = np.full(grid.shape, grid.sum(), np.int32)
    rows[grid] = np.arange(grid.sum())
    found = engine.rows(bits_of(grid), bits_of(wanted))
    assert found.dtype == torch.int32
    assert same(found, rows[wanted])


@pytest.mark.parametrize("share", [0.001, 0.3])
def test_a_grid_that_several_threads_share(engine: Any, share: float) -> None:
    """Large enough that every function of the native engine goes parallel, whatever its blocks are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    grid = random_grid((2, 60, 50, 500), share, 6)
    bits = engine.index(words_of(grid))
    listed = engine.coordinates(bits)
    keep = torch.arange(bits.count) % 3 == 0
    kept = engine.index(engine.select(bits, keep))
    assert same(listed, np.argwhere(grid).astype(np.int32))
    assert same(engine.mark(listed, grid.shape), bits.words)
    assert same(engine.mark(listed[torch.randperm(len(listed), generator=torch.manual_seed(0))], grid.shape), bits.words)
    even = listed[:, 3] % 2 == 0
    assert same(engine.mark(torch.cat([listed[even], listed[~even]]), grid.shape), bits.words), "two runs, each in order, of the same words"
    assert same(engine.coordinates(kept), listed[keep])
    assert same(engine.rows(bits, kept), torch.arange(bits.count, dtype=torch.int32)[keep])
    assert same(engine.unpack(bits.words, 500), grid)
    coarse = engine.parents(bits.words)
    assert same(coarse, reference.parents(bits.words))
    for kernel in (2, 4):
        limits, shape = torch.tensor([[60, 50, 500], [50, 41, 450]]), (2, 60, 50, 500)
        assert same(engine.children(coarse, limits, shape, kernel), reference.children(coarse, limits, shape, kernel))
    torch.set_num_threads(threads)
