"""The compiled library: one file for each instruction set beside this one, made when Calvaria is installed (setup.py).

Nothing is compiled here. The best file that the processor can run is loaded at the first use; CALVARIA_SIMD=baseline, avx2 or
avx512 names another.
"""

import ctypes
import hashlib
import math
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calvaria.sparse.native.interface import SIGNATURES

LEVELS = ("baseline", "avx2", "avx512")
SWITCH = "CALVARIA_SIMD"
HUGE = 2**23  # bytes
HERE = Path(__file__).parent
CSRC = HERE.parent / "csrc"


def library() -> ctypes.CDLL:
    """The library in use. RuntimeError where there is none, with `why_not`."""
    torch.get_num_threads()  # makes torch.set_num_threads hold for this thread's OpenMP too
    return _load(simd())


@cache
def simd() -> str:
    """The instruction set in use: "baseline", "avx2" or "avx512". RuntimeError where there is no library."""
    wanted = os.environ.get(SWITCH, "").lower() or None
    if not levels():
        raise RuntimeError(
            "the native engine was not compiled when Calvaria was installed: install a C++ compiler with OpenMP (g++) and install again"
        )
    if wanted is not None and wanted not in levels():
        raise RuntimeError(f"{SWITCH}={wanted}, but here there are only kernels for {', '.join(levels())}")
    chosen = wanted or levels()[-1]
    _load(chosen)
    return chosen


def describe() -> str:
    return f"C++ for {simd()}, {torch.get_num_threads()} threads"


@cache
def levels() -> tuple[str, ...]:
    """The instruction sets that were compiled and that this processor has, simplest first."""
    if not _file("baseline").exists():
        return ()
    best = _load("baseline").calvaria_simd().decode()
    return tuple(level for level in LEVELS[: LEVELS.index(best) + 1] if _file(level).exists())


def room(*shape: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor for a kernel to fill; a large one in huge pages, whose first use costs a fraction."""
    return _in_huge_pages(torch.empty(shape, dtype=dtype))


def blank(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros; a large tensor's are the system's own, in huge pages: nothing is written."""
    size = math.prod(shape) * dtype.itemsize
    if size < HUGE:
        return torch.zeros(shape, dtype=dtype)
    return _in_huge_pages(torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).view(shape))


def _in_huge_pages(tensor: Tensor) -> Tensor:
    if tensor.nbytes >= HUGE:
        library().huge_pages(tensor.data_ptr(), tensor.nbytes)
    return tensor


def available() -> bool:
    """Whether there is a library that can be used here."""
    return why_not() == ""


@cache
def why_not() -> str:
    """Why there is no library to use: "" if there is one."""
    try:
        simd()
    except RuntimeError as error:
        return str(error)
    return ""


@cache
def _load(level: str) -> ctypes.CDLL:
    """Raises RuntimeError for a file that does not load or was compiled from other sources than there are, if there are any."""
    try:
        loaded = ctypes.CDLL(str(_file(level)))
        for name, (returned, arguments) in SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = returned, arguments
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"the native engine does not load, install Calvaria again: {error}") from error
    if CSRC.exists() and loaded.calvaria_sources().decode() != _fingerprint():
        raise RuntimeError("the native engine was compiled from other sources than these: install Calvaria again (make setup)")
    return loaded


@cache
def _fingerprint() -> str:
    """What setup.py has the compiler write into a library of these sources."""
    sources = sorted(CSRC.glob("*.h")) + sorted(CSRC.glob("*.cpp"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _file(level: str) -> Path:
    return HERE / f"_{level}{EXTENSION_SUFFIXES[0]}"
