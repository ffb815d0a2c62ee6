"""NIfTI-1 and NIfTI-2 in a single file (.nii), compressed or not. The format: https://nifti.nimh.nih.gov/nifti-1."""

from io import BufferedIOBase
from itertools import product
from math import prod
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.image import AGAIN, LPS_FROM_RAS, Image, Promise, checked_affine, checked_shape, shear_warnings
from calvaria.io.streams import compressed, in_file_order, read_samples
from calvaria.volume import SAME_PLACE_MM, Affine, BinaryVolume

HEADER_BYTES = 540  # of NIfTI-2, the longer one

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the standard's code: not said, metre, millimetre, micrometre
_MAX_EXTENSION_BYTES = 2**24
_LENGTH_UNIT = 7  # the bits of xyzt_units that are of length
_SCALED_BYTES = 4  # a voxel, where integers are scaled to what they stand for
_SCANNER = 1  # sform and qform code: coordinates of the scanner
_LONGEST_QUATERNION = 1.0005  # by rounding
_LEAST_ANGLE = 1.3e-3  # radians: nibabel takes squares below three times the precision for zero


def is_nifti(head: bytes) -> bool:
    """Whether the first HEADER_BYTES bytes are a NIfTI header's, of a pair of files included."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def parse(stream: BufferedIOBase, max_voxels: int, file_format: str) -> Promise:
    """An image from a stream at the start of a NIfTI file. Raises CalvariaError for whatever is wrong with its header."""
    header = _header(stream)
    try:
        sizes = [int(size) for size in header.get_data_shape()]
        dtype = header.get_data_dtype()
        offset = int(header["vox_offset"])
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The NIfTI header holds what cannot be: {error}. {AGAIN}") from error
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"Samples of type {dtype} are not real numbers; save the mask as unsigned char.")
    shape = checked_shape(sizes, dtype, max_voxels)
    affine, assumed = _geometry(header, shape)
    affine = checked_affine(affine)
    skipped = offset - header.sizeof_hdr
    if not 0 <= skipped <= _MAX_EXTENSION_BYTES:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The NIfTI header places the samples at byte {offset:,}, which cannot be. {AGAIN}")

    def read() -> Image:
        stream.seek(offset)
        return Image(_scaled(header, read_samples(stream, shape, dtype)), affine, file_format, (*assumed, *shear_warnings(affine)))

    return Promise(prod(shape) * (dtype.itemsize + (_SCALED_BYTES if _rescales(header) and dtype.kind != "f" else 0)), read)


def serialise(volume: BinaryVolume, *, compress: bool) -> bytes:
    """A NIfTI-1 file of unsigned char (NIfTI-2 if an axis is longer than 32,767), with equal sform and qform.

    The header holds float32: an origin of 200 mm is kept to about 1e-5 mm. A sheared affine is in the sform alone: a program that asks for
    the qform, which cannot hold it, refuses the file rather than place it elsewhere.
    """
    header = nib.Nifti1Header() if max(volume.shape) < 2**15 else nib.Nifti2Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = volume.spacing_mm
    header.set_sform(LPS_FROM_RAS @ volume.affine, code=_SCANNER)
    header.set_qform(LPS_FROM_RAS @ volume.affine, code=0 if shear_warnings(volume.affine) else _SCANNER)
    no_extensions = bytes(4)
    header["vox_offset"] = header.sizeof_hdr + len(no_extensions)
    content = b"".join([header.binaryblock, no_extensions, in_file_order(volume.samples)])
    return compressed(content) if compress else content


def _header(stream: BufferedIOBase) -> Any:
    """The header as it stands in the file, unchecked."""
    head = stream.read(HEADER_BYTES)
    if head[4:8] == b"ni2\0" or head[344:348] == b"ni1\0":
        raise CalvariaError(ErrorCode.DETACHED_HEADER, "The samples of this NIfTI lie in another file (.img); save it as one .nii.")
    kind: Any = nib.Nifti2Header if head[4:8] == b"n+2\0" else nib.Nifti1Header
    if len(head) < kind.sizeof_hdr:
        raise CalvariaError(ErrorCode.TRUNCATED, "The file ends within its NIfTI header; send the file again, whole.")
    orders = {kind.sizeof_hdr.to_bytes(4, "little"): "<", kind.sizeof_hdr.to_bytes(4, "big"): ">"}
    if head[:4] not in orders:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The NIfTI header does not begin with its size, {kind.sizeof_hdr}. {AGAIN}")
    header = kind(head[: kind.sizeof_hdr], endianness=orders[head[:4]], check=False)
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # qfac: "if it is 0, 1 is meant", says the standard
    return header


def _geometry(header: Any, shape: tuple[int, int, int]) -> tuple[Affine, list[str]]:
    """Index to LPS mm, and what had to be assumed for it: the sform if there is one, else the qform, else the spacing alone.

    Of two that differ the one in the scanner's coordinates is taken, as ITK does: a template's millimetres are no patient's.
    """
    warnings: list[str] = []
    mm = _millimetres(header, warnings)
    placed = header.get_sform(coded=True)[0]
    try:
        qform = _qform(header)
    except CalvariaError:
        if placed is None:
            raise
        qform = None
    if placed is None:
        placed = qform
    elif qform is not None and _differ(placed * mm, qform * mm, header, shape):
        by_qform = header["qform_code"] == _SCANNER != header["sform_code"]
        placed = qform if by_qform else placed
        warnings.append(f"The file's sform and qform place it differently; the {'qform' if by_qform else 'sform'} is taken.")
    if placed is not None:
        return np.array([[-mm], [-mm], [mm], [1.0]]) * placed, warnings  # NIfTI's space is RAS
    warnings.append("The file has no sform or qform; its axes are taken to run left, posterior and superior from 0, 0, 0 mm.")
    return np.diag([*(mm * _spacing(header)), 1.0]), warnings


def _spacing(header: Any) -> NDArray[np.float64]:
    spacing = np.array(header["pixdim"][1:4], np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The voxel spacing (pixdim) is {spacing.tolist()}; each must be above zero.")
    return spacing


def _qform(header: Any) -> Affine | None:
    """The qform, if there is one. BAD_GEOMETRY where it cannot be read; a quaternion that is a little too long was rounded."""
    if header["qform_code"] <= 0:
        return None
    _spacing(header)
    names = [f"quatern_{axis}" for axis in "bcd"]
    length = float(np.linalg.norm([float(header[name]) for name in names]))
    if 1 < length < _LONGEST_QUATERNION:
        for name in names:
            header[name] /= length * (1 + np.finfo(np.float32).eps)
    try:
        return header.get_qform(coded=True)[0]  # type: ignore[no-any-return]
    except (HeaderDataError, ValueError) as error:
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The NIfTI orientation cannot be read: {error}. {AGAIN}") from error


def _apart(one: Affine, other: Affine, shape: tuple[int, int, int]) -> float:
    """How far from each other two affines place the corners of a grid, at most."""
    corners = np.array([*product(*((0, count - 1) for count in shape), [1])])
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _differ(sform_mm: Affine, qform_mm: Affine, header: Any, shape: tuple[int, int, int]) -> bool:
    """Whether the two forms mean other places.

    The quaternion's first number is what the other three leave of one. Where that is next to nothing, as in heads that lie left, posterior
    and superior and are hardly turned, single precision holds an angle of some _LEAST_ANGLE at best.
    """
    shifted_mm = float(np.linalg.norm(sform_mm[:3, 3] - qform_mm[:3, 3]))
    rest = 1 - sum(float(header[f"quatern_{axis}"]) ** 2 for axis in "bcd")
    if abs(rest) >= _LEAST_ANGLE**2 or shifted_mm > SAME_PLACE_MM:
        return _apart(sform_mm, qform_mm, shape) > SAME_PLACE_MM
    extent_mm = float(np.linalg.norm(shape * np.linalg.norm(sform_mm[:3, :3], axis=0)))
    return _apart(sform_mm, qform_mm, shape) > _LEAST_ANGLE * extent_mm


def _millimetres(header: Any, warnings: list[str]) -> float:
    """The unit of length; where none is named, as in what many programs write, mm are meant."""
    code = int(header["xyzt_units"]) & _LENGTH_UNIT
    if code not in _MM:
        warnings.append("The unit of length (xyzt_units) is not known; lengths are taken as mm.")
    return _MM.get(code, 1.0)


def _rescales(header: Any) -> bool:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return np.isfinite(slope) and slope != 0 and (slope, intercept) != (1.0, 0.0)


def _scaled(header: Any, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the samples stand for: NIfTI may store them as (value - intercept) / slope. Floats are scaled in place."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not _rescales(header):
        return samples
    if not np.isfinite(intercept):
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The NIfTI header has a scl_slope and no finite scl_inter. {AGAIN}")
    scaled = samples if samples.dtype.kind == "f" else samples.astype(np.float32)
    scaled *= slope
    scaled += intercept
    return scaled
