"""Bone from CT: what must be done before a scan can be sent to a network over masks."""

from math import isfinite

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.hounsfield import check_hounsfield, finite_range
from calvaria.io import Image
from calvaria.tasks.components import largest_component
from calvaria.volume import BinaryVolume


def threshold(image: Image, hu: float, offset_hu: float = 0.0) -> BinaryVolume:
    """The largest 26-connected component at or above `hu` Hounsfield units, on the image's grid; table and headrest fall away.

    `offset_hu` is what must be added to the samples to make them Hounsfield units: -1024 for many a scan stored without a sign.
    Raises BAD_OPTION for numbers that are not finite, EMPTY_MASK where nothing reaches `hu`, NOT_HOUNSFIELD where the samples cannot be
    Hounsfield units; NaN counts as air.
    """
    if not (isfinite(hu) and isfinite(offset_hu)):
        raise bad_option(f"The threshold and the offset are finite numbers of Hounsfield units, not {hu:g} and {offset_hu:g}.")
    _, high = finite_range(image.samples)
    if high + offset_hu < hu:
        raise CalvariaError(
            ErrorCode.EMPTY_MASK, f"Nothing reaches {hu:g} HU: the samples end at {high + offset_hu:g}. Is this CT, in Hounsfield units?"
        )
    check_hounsfield(image.samples, "give it: --offset -1024 for most scanners.", offset_hu)
    return BinaryVolume(largest_component(image.samples >= hu - offset_hu), image.affine)
