"""Files and bytes to volumes and back. Everything a client sends enters through here, and whatever is wrong with it is refused here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import reading, write_file
from calvaria.io import mesh, nifti, nrrd
from calvaria.io.image import DEFAULT_MAX_VOXELS, Image, Promise
from calvaria.io.masks import to_labels, to_mask
from calvaria.io.streams import is_gzip, open_stream, refusing_bad_gzip
from calvaria.labels import LabelMap
from calvaria.volume import Affine, BinaryVolume

VOLUME_FORMATS = ("nrrd", "nii", "nii.gz")
"""Formats of volumes, read and written."""

FORMATS = (*VOLUME_FORMATS, "stl")
"""Formats that are written: volumes, and surfaces (see `calvaria.io.mesh`)."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A volume and what its file was: `format` is one of VOLUME_FORMATS; `warnings`: see Image; `merged`: labels taken for one mask."""

    volume: BinaryVolume
    format: str
    warnings: tuple[str, ...]
    merged: tuple[int, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Its warnings, and what was made of its labels."""
        return self.warnings + ((merging(self.merged),) if self.merged else ())


def merging(labels: Sequence[int]) -> str:
    """That these labels were taken for one mask, and what to do about it."""
    return f"The values {', '.join(map(str, labels))} were taken together for one mask; if that is not meant, choose one as the label."


def decode(
    data: bytes | bytearray | memoryview, *, label: int | None = None, keep_labels: bool = False, max_voxels: int = DEFAULT_MAX_VOXELS
) -> Decoded:
    """A mask from the content of an NRRD or NIfTI file, told apart by their first bytes.

    label        take the voxels that equal this value; by default everything above zero is occupied
    keep_labels  where there is another label than 1 and none is chosen, the volume is a LabelMap
    max_voxels   more are refused, from the header, before memory is taken for them

    The mask is bool [X, Y, Z] in Fortran order. Raises CalvariaError; the data must end where the header says it does.
    """
    return as_mask(decode_image(data, max_voxels=max_voxels), label, keep_labels=keep_labels)


def as_mask(image: Image, label: int | None = None, *, keep_labels: bool = False) -> Decoded:
    """The mask in an image; see `decode`. CalvariaError NOT_BINARY or LABEL_ABSENT."""
    if keep_labels and label is None and (labels := to_labels(image.samples)) is not None:
        return Decoded(LabelMap(labels > 0, image.affine, labels), image.format, image.warnings)
    mask, merged = to_mask(image.samples, label)
    return Decoded(BinaryVolume(mask, image.affine), image.format, image.warnings, merged)


def decode_image(data: bytes | bytearray | memoryview, *, max_voxels: int = DEFAULT_MAX_VOXELS) -> Image:
    """Samples of any type from the content of an NRRD or NIfTI file. Raises CalvariaError."""
    return open_image(data, max_voxels=max_voxels).read()


def open_image(data: bytes | bytearray | memoryview, *, max_voxels: int = DEFAULT_MAX_VOXELS) -> Promise:
    """An NRRD or NIfTI file with its header read and checked, but no sample. Raises CalvariaError, as the promise's `read` does."""
    stream = open_stream(data)
    with refusing_bad_gzip():
        head = stream.read(nifti.HEADER_BYTES)
        stream.seek(0)
        if head.startswith(nrrd.MAGIC):
            return _reading(nrrd.parse(stream, max_voxels))
        if nifti.is_nifti(head):
            return _reading(nifti.parse(stream, max_voxels, "nii.gz" if is_gzip(data) else "nii"))
    if head[128:132] == b"DICM":
        raise CalvariaError(ErrorCode.NOT_A_VOLUME, "This is a DICOM file; convert its series first, with dcm2niix for example.")
    raise CalvariaError(ErrorCode.NOT_A_VOLUME, "This is neither an NRRD nor a NIfTI file; save it as .nrrd, .nii or .nii.gz.")


def encode(volume: BinaryVolume, format: str) -> bytes:
    """The content of a file in one of FORMATS; nrrd is gzip-encoded, and samples are unsigned char; stl is binary, in mm LPS."""
    if format == "nrrd":
        return nrrd.serialise(volume)
    if format in ("nii", "nii.gz"):
        return nifti.serialise(volume, compress=format == "nii.gz")
    if format == "stl":
        return mesh.serialise(mesh.surface(volume))
    raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")


def encode_scan(samples: NDArray[Any], affine: Affine) -> bytes:
    """A scan [X, Y, Z], HU, as the content of an NRRD file; rounded to whole numbers."""
    return nrrd.serialise_scan(samples, affine)


def read(path: Path | str) -> Decoded:
    """A mask from a file; its content, not its suffix, says what it is."""
    return decode(_content(Path(path)))


def read_image(path: Path | str) -> Image:
    """Samples of any type from a file, a CT for instance."""
    return decode_image(_content(Path(path)))


def write(path: Path | str, volume: BinaryVolume) -> None:
    """Write a mask; the suffix chooses the format."""
    write_file(Path(path), encode(volume, format_of(path)))


def format_of(path: Path | str) -> str:
    """Which of FORMATS a file's suffix names, or BAD_OPTION."""
    for known in FORMATS:
        if str(path).lower().endswith(f".{known}"):
            return known
    raise bad_option(f"{path} does not say its format; end the name in .{', .'.join(FORMATS)}.")


def _reading(promise: Promise) -> Promise:
    """A promise whose reading, too, is guarded against damaged gzip data."""

    def read() -> Image:
        with refusing_bad_gzip():
            return promise.read()

    return Promise(promise.sample_bytes, read)


def _content(path: Path) -> bytes:
    with reading(path):
        return path.read_bytes()
