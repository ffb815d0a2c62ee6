"""A scan's file, as a client would send it beside a mask."""

from collections.abc import Sequence

import numpy as np

from calvaria.io.streams import compressed


def scan_file(values: np.ndarray, origin_mm: Sequence[float], spacing_mm: Sequence[float]) -> bytes:
    """A gzip-encoded NRRD of short samples [X, Y, Z], axes along left, posterior and superior."""
    axes = np.diag(np.asarray(spacing_mm, np.float64))
    directions = " ".join(_vector(axis) for axis in axes)
    header = [
        "NRRD0004",
        "type: short",
        "endian: little",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: {} {} {}".format(*values.shape),
        f"space directions: {directions}",
        "encoding: gzip",
        f"space origin: {_vector(origin_mm)}",
    ]
    return "\n".join([*header, "", ""]).encode() + compressed(np.asfortranarray(values, np.int16).reshape(-1, order="F").tobytes())


def _vector(numbers: Sequence[float]) -> str:
    return "({})".format(",".join(repr(float(number)) for number in numbers))
