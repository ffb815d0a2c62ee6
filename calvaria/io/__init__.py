"""Files and bytes to `BinaryVolume` and back: NRRD and NIfTI, and its surface as STL. Hostile input is refused here."""

from calvaria.io.codec import FORMATS, VOLUME_FORMATS, Decoded, decode, decode_image, encode, format_of, read, read_image, write
from calvaria.io.image import DEFAULT_MAX_VOXELS, Image

__all__ = [
    "DEFAULT_MAX_VOXELS",
    "FORMATS",
    "VOLUME_FORMATS",
    "Decoded",
    "Image",
    "decode",
    "decode_image",
    "encode",
    "format_of",
    "read",
    "read_image",
    "write",
]
