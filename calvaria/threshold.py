"""Bone from CT: what must be done before a scan can be sent to a network over masks."""

import cc3d
import numpy as np

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import Image
from calvaria.volume import BinaryVolume, Mask


def threshold(image: Image, hu: float) -> BinaryVolume:
    """The largest 26-connected component at or above `hu` Hounsfield units, on the image's grid; table and headrest fall away.

    Raises EMPTY_MASK where nothing reaches `hu`.
    """
    bright = image.samples >= hu
    if not bright.any():
        raise CalvariaError(
            ErrorCode.EMPTY_MASK,
            f"Nothing reaches {hu:g} HU: the samples end at {np.nanmax(image.samples):g}. Is this CT, in Hounsfield units?",
        )
    largest: Mask = cc3d.largest_k(bright, k=1, connectivity=26) != 0
    return BinaryVolume(largest, image.affine)
