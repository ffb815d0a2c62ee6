"""Files and bytes to `BinaryVolume` and back: NRRD and NIfTI, and its surface as STL. Hostile input is refused here."""

from calvaria.io.codec import (
    FORMATS,
    VOLUME_FORMATS,
    Decoded,
    as_mask,
    decode,
    decode_image,
    encode,
    encode_scan,
    format_of,
    open_image,
    read,
    read_image,
    write,
)
from calvaria.io.image import DEFAULT_MAX_VOXELS, Image, Promise

__all__ = [
    "DEFAULT_MAX_VOXELS",
    "FORMATS",
    "VOLUME_FORMATS",
    "Decoded",
    "Image",
    "Promise",
    "as_mask",
    "decode",
    "decode_image",
    "encode",
    "encode_scan",
    "format_of",
    "open_image",
    "read",
    "read_image",
    "write",
]
