"""Bone from CT: what must be done before a scan can be sent to a network over masks."""

import cc3d
import numpy as np

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import Image
from calvaria.volume import BinaryVolume, Mask

SOFTEST_HU = -50.0
"""A scan of a head holds something below it: air, at -1000, or at least fat, at -100."""
DENSEST_HU = 2.0**15
"""No scanner stores more: CT is 12 bits, or 16 where metal is to be told apart."""


def threshold(image: Image, hu: float, offset_hu: float = 0.0) -> BinaryVolume:
    """The largest 26-connected component at or above `hu` Hounsfield units, on the image's grid; table and headrest fall away.

    `offset_hu` is what must be added to the samples to make them Hounsfield units: -1024 for many a scan stored without a sign.
    Raises EMPTY_MASK where nothing reaches `hu`, NOT_BINARY where the samples cannot be Hounsfield units; NaN counts as air.
    """
    low, high = _range(image)
    if high + offset_hu < hu:
        raise CalvariaError(
            ErrorCode.EMPTY_MASK, f"Nothing reaches {hu:g} HU: the samples end at {high + offset_hu:g}. Is this CT, in Hounsfield units?"
        )
    if low + offset_hu > SOFTEST_HU or high + offset_hu > DENSEST_HU:
        raise CalvariaError(
            ErrorCode.NOT_BINARY,
            f"The samples run from {low + offset_hu:g} to {high + offset_hu:g} and cannot be Hounsfield units, in which air is -1000. "
            "If they are CT stored without its offset, give it: --offset -1024 for most scanners.",
        )
    largest: Mask = cc3d.largest_k(image.samples >= hu - offset_hu, k=1, connectivity=26) != 0
    return BinaryVolume(largest, image.affine)


def _range(image: Image) -> tuple[float, float]:
    """The least and the greatest finite sample."""
    if image.samples.dtype.kind != "f":
        return float(image.samples.min()), float(image.samples.max())
    known = np.isfinite(image.samples)
    if not known.any():
        raise CalvariaError(ErrorCode.NOT_BINARY, "No sample is a finite number: this is no CT.")
    least, most = np.float64(np.inf), np.float64(-np.inf)
    return float(image.samples.min(where=known, initial=least)), float(image.samples.max(where=known, initial=most))
