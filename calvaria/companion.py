"""The scan that a mask was drawn in, beside the mask."""

from typing import Any

from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.hounsfield import check_hounsfield
from calvaria.io import Image
from calvaria.volume import SAME_PLACE_MM, BinaryVolume


def scan_beside(image: Image, volume: BinaryVolume) -> NDArray[Any]:
    """A scan's samples [X, Y, Z], HU, along a volume's axes, however either file orders and flips its own (a view).

    CalvariaError BAD_GEOMETRY where both lie on different voxels, NOT_HOUNSFIELD where the samples cannot be Hounsfield units.
    """
    scan = BinaryVolume.empty(image.samples.shape, image.affine)
    here, there = (to_canonical(each) for each in (volume, scan))
    if not here.volume.same_grid(there.volume, SAME_PLACE_MM):
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY,
            f"It does not lie on the mask's grid: it has {scan.grid}, the mask {volume.grid}. "
            "Resample one onto the other, and send both with the same geometry.",
        )
    check_hounsfield(image.samples, "add it: -1024 for most scanners.")
    return here.from_canonical(there.seen(image.samples))
