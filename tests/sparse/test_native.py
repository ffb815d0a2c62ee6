"""The compiled library: which one is loaded, in whose threads it works, and what it refuses."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calvaria.sparse import native
from calvaria.sparse.native.interface import ADDRESS, REAL, SIGNATURES, SIZE, Array
from calvaria.sparse.native.library import CSRC, SWITCH, library

if not native.levels():
    pytest.skip(native.why_not(), allow_module_level=True)

POINTED = {torch.int64: ("int64_t", "uint64_t"), torch.int32: ("int32_t",), torch.bool: ("uint8_t",), torch.float32: ("float",)}
WORDS = torch.zeros(1, 2, 2, 1, dtype=torch.int64)


def said(code: str, **environment: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})
    return (found.stdout + found.stderr).strip()


def test_the_best_kernels_that_the_processor_can_run_are_used() -> None:
    assert native.simd() == native.levels()[-1]
    assert native.levels()[0] == "baseline"


def test_an_environment_variable_names_lesser_kernels() -> None:
    assert said("from calvaria.sparse import native; print(native.simd())", **{SWITCH: "baseline"}) == "baseline"


def test_kernels_that_there_are_not_are_refused_by_name() -> None:
    assert "CALVARIA_SIMD=sse9" in said("from calvaria.sparse import native; print(native.why_not())", **{SWITCH: "sse9"})


def test_threads_are_pytorchs_own() -> None:
    library()
    mapped = {Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines()}
    runtimes = {path for path in mapped if path.name.startswith(("libgomp", "libomp", "libiomp"))}
    assert len(runtimes) == 1, "one OpenMP, one pool"
    threads = torch.get_num_threads()
    for number in (3, 1):
        torch.set_num_threads(number)
        assert library().calvaria_threads() == number
    torch.set_num_threads(threads)


@pytest.mark.parametrize("wrong", [WORDS.int(), WORDS.expand(2, 2, 2, 1), WORDS.to("meta")], ids=["type", "strides", "device"])
def test_a_tensor_of_another_kind_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ctypes.ArgumentError, match=r"expected a contiguous torch.int64 tensor on the CPU"):
        native.index(wrong)


def test_sizes_that_do_not_fit_are_refused() -> None:
    bits = native.index(WORDS)
    limits = torch.tensor([[4, 4, 4]])
    with pytest.raises(ValueError, match="does not fit"):
        native.pack(torch.zeros(3, 2, 2, dtype=torch.bool), WORDS[0])
    with pytest.raises(ValueError, match="do not hold"):
        native.unpack(WORDS, 65)
    with pytest.raises(ValueError, match="1 of 2 coordinates lie outside"):
        native.mark(torch.tensor([[0, 1, 1, 3], [0, 1, 2, 0]]), (1, 2, 2, 4))
    with pytest.raises(ValueError, match="decisions"):
        native.select(bits, torch.ones(1, dtype=torch.bool))
    with pytest.raises(ValueError, match="two grids"):
        native.rows(bits, native.index(torch.zeros(1, 2, 3, 1, dtype=torch.int64)))
    for shape, kernel in [((1, 4, 4, 4), 3), ((1, 6, 4, 4), 2), ((2, 4, 4, 4), 2), ((1, 4, 4, 200), 2)]:
        with pytest.raises(ValueError, match="no kernel"):
            native.children(WORDS, limits, shape, kernel)


@pytest.mark.parametrize(
    "outside", [[-1, 0, 0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 2, 0, 0], [0, 0, -1, 0], [0, 0, 2, 0], [0, 0, 0, -1], [0, 0, 0, 4]]
)
def test_a_coordinate_outside_the_grid_is_refused(outside: list[int]) -> None:
    with pytest.raises(ValueError, match="1 of 1 coordinates lie outside"):
        native.mark(torch.tensor([outside]), (1, 2, 2, 4))


def test_python_declares_every_function_as_the_header_does() -> None:
    kinds = {"int64_t": SIZE, "float": REAL, "const char *": ctypes.c_char_p, "void": None}
    declared = re.findall(r"^CALVARIA_API ([\w ]+?[ *]*)(\w+)\(([^)]*)\);", (CSRC / "interface.h").read_text(), re.MULTILINE)
    assert [name for _, name, _ in declared] == list(SIGNATURES)
    for returned, name, arguments in declared:
        expected, types = SIGNATURES[name]
        assert kinds[returned.strip() if "*" not in returned else returned] == expected, name
        wanted = [argument.split() for argument in arguments.split(",")] if arguments else []
        assert len(wanted) == len(types), name
        for words, kind in zip(wanted, types, strict=True):
            *of, variable = words
            if not variable.startswith("*"):
                assert kind is kinds[" ".join(of)], (name, variable)
            elif isinstance(kind, Array):
                assert of[-1] in POINTED[kind.dtype], (name, variable)
            else:
                assert kind is ADDRESS, (name, variable)


@pytest.mark.parametrize("absent", [0.0, -2.5])
def test_values_spread_over_each_item_of_a_batch(absent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(5, 7, 70), (6, 3, 129), (1, 1, 1)]
    masks = [torch.rand(size, generator=torch.manual_seed(1)) < 0.3 for size in sizes]
    words = torch.zeros(3, 6, 7, 3, dtype=torch.int64)
    for item, mask in zip(words, masks, strict=True):
        native.pack(mask, item)
    values = torch.rand(sum(int(mask.sum()) for mask in masks))
    parts = values.split([int(mask.sum()) for mask in masks])
    for level in native.levels():
        monkeypatch.setattr("calvaria.sparse.native.library.simd", lambda level=level: level)
        for item, (mask, part, size) in enumerate(zip(masks, parts, sizes, strict=True)):
            expected = torch.full(size, absent).masked_scatter(mask, part)
            assert torch.equal(native.spread(native.index(words), values, item, size, absent), expected)
