"""Bodies that no server should answer with a volume, by name, and the codes it should refuse them with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from isal import igzip

from calvaria.errors import ErrorCode
from calvaria.io import encode
from calvaria.volume import BinaryVolume

MIB = 2**20
BOMB_MIB = 256


@dataclass(frozen=True)
class Bad:
    """A body from a seed, the options sent along, and the refusals that are right for it."""

    body: Callable[[int], bytes]
    codes: tuple[ErrorCode, ...]
    options: dict[str, str] = field(default_factory=dict)


def _garbage(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(20_000)


def _good(seed: int) -> bytes:
    """Noise, which hardly compresses: what is cut off it is missed."""
    mask = np.random.default_rng(seed).random((32, 32, 32)) < 0.3
    return encode(BinaryVolume.on_grid(mask, (3.0, 3.0, 3.0)), "nrrd")


def _truncated(seed: int) -> bytes:
    good = _good(seed)
    return good[: len(good) * 2 // 3]


@cache
def _zeros(mib: int) -> bytes:
    return bytes(igzip.compress(bytes(mib * MIB), 1))


def _nrrd(sizes: str, data: bytes) -> bytes:
    lines = ["NRRD0004", "type: uint8", "dimension: 3", f"sizes: {sizes}", "encoding: gzip", "space: left-posterior-superior"]
    lines += ["space directions: (1,0,0) (0,1,0) (0,0,1)", "space origin: (0,0,0)"]
    return "\n".join(lines).encode() + b"\n\n" + data


BOMB_CODES = ErrorCode.BAD_HEADER, ErrorCode.NOT_A_VOLUME, ErrorCode.TOO_LARGE

BAD: dict[str, Bad] = {
    "empty": Bad(lambda seed: b"", (ErrorCode.EMPTY_BODY,)),
    "garbage": Bad(_garbage, (ErrorCode.NOT_A_VOLUME,)),
    "truncated": Bad(_truncated, (ErrorCode.TRUNCATED,)),
    # A gzip file of nothing but zeros, and a small volume whose samples go on for ever.
    "bomb": Bad(lambda seed: _zeros(BOMB_MIB), BOMB_CODES),
    "nrrd-bomb": Bad(lambda seed: _nrrd("8 8 8", _zeros(BOMB_MIB)), BOMB_CODES),
    # A header that promises 10^15 voxels, and one that keeps its promise: 512 x 512 x 512 voxels, none of them occupied.
    "huge": Bad(lambda seed: _nrrd("100000 100000 100000", _zeros(1)), (ErrorCode.TOO_LARGE,)),
    "hollow": Bad(lambda seed: _nrrd("512 512 512", _zeros(128)), (ErrorCode.EMPTY_MASK,)),
    # A byte more than the 64 MiB that config.properties allows a body.
    "oversize": Bad(lambda seed: bytes(64 * MIB + 1), (ErrorCode.TOO_LARGE,)),
    "option": Bad(_good, (ErrorCode.UNKNOWN_OPTION,), {"colour": "red"}),
}
"""As ingredients of a workload they are called `bad:garbage` and so on."""
