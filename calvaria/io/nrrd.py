"""NRRD with an attached header, raw or gzip-encoded. The format: https://teem.sourceforge.net/nrrd/format.html."""

import re
from io import BufferedIOBase
from math import prod
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.image import AGAIN, LPS_FROM_RAS, Image, Promise, checked_affine, checked_shape, shear_warnings
from calvaria.io.streams import compressed, expanding, in_file_order, read_samples
from calvaria.volume import Affine, BinaryVolume

MAGIC = b"NRRD"

_MAX_HEADER_BYTES = 2**18
_MAX_FIELDS_BYTES = 2**13  # most of the fields that are read; the parser's time grows with the square of a line
_DETACHED = re.compile(rb"data ?file\s*:(?!=)", re.IGNORECASE)
_READ = re.compile(
    rb"(dimension|type|encoding|endian|sizes|spacings|units|axis ?mins|centers|centerings|line ?skip|byte ?skip"
    rb"|space|space dimension|space directions|space origin|space units)\s*:(?!=)",
    re.IGNORECASE,
)
_VECTOR = re.compile(r"\(([^()]*)\)")
_REQUIRED = "dimension", "type", "encoding", "sizes"
_TYPE_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: code for code, names in _TYPE_NAMES.items() for name in names.split(", ")}
_BYTE_ORDERS = {"little": "<", "big": ">"}
_SPACES = {  # to LPS
    "left-posterior-superior": np.eye(4),
    "lps": np.eye(4),
    "right-anterior-superior": LPS_FROM_RAS,
    "ras": LPS_FROM_RAS,
    "left-anterior-superior": np.diag([1.0, -1.0, 1.0, 1.0]),
    "las": np.diag([1.0, -1.0, 1.0, 1.0]),
}
_UNIT_NAMES = {
    1.0: ", mm, millimeter, millimeters, millimetre, millimetres",
    10.0: "cm, centimeter, centimeters, centimetre, centimetres",
    1000.0: "m, meter, meters, metre, metres",
    0.001: "um, µm, μm, micron, microns, micrometer, micrometers, micrometre, micrometres",  # µ has two code points
}
_MM = {name: mm for mm, names in _UNIT_NAMES.items() for name in names.split(", ")}
_UNPLACED_SPACES = "scanner-xyz", "3d-right-handed", "3d-left-handed"


def parse(stream: BufferedIOBase, max_voxels: int) -> Promise:
    """An image from a stream at the start of an NRRD file. Raises CalvariaError for whatever is wrong with its header."""
    header = _header(stream)
    dtype = _sample_type(header)
    if int(header["dimension"]) != len(header["sizes"]):
        raise CalvariaError(
            ErrorCode.BAD_HEADER, f"The header says dimension {header['dimension']} and gives {len(header['sizes'])} sizes. {AGAIN}"
        )
    shape = checked_shape(header["sizes"], dtype, max_voxels)
    affine, assumed = _geometry(header)
    affine = checked_affine(affine)

    def read() -> Image:
        data = expanding(stream) if header["encoding"] in ("gzip", "gz") else stream
        return Image(read_samples(data, shape, dtype), affine, "nrrd", (*assumed, *shear_warnings(affine)))

    return Promise(prod(shape) * dtype.itemsize, read)


def serialise(volume: BinaryVolume) -> bytes:
    """A gzip-encoded NRRD of unsigned char in left-posterior-superior; the affine is kept to the last bit."""
    return _file("unsigned char", volume.samples, volume.affine)


def serialise_scan(samples: NDArray[Any], affine: Affine) -> bytes:
    """A gzip-encoded NRRD of real numbers [X, Y, Z] such as HU, rounded to signed short."""
    limits = np.iinfo(np.int16)
    return _file("short", np.rint(samples).clip(limits.min, limits.max).astype("<i2"), affine, "endian: little")


def _file(type_name: str, samples: NDArray[Any], affine: Affine, *more: str) -> bytes:
    header = [
        "NRRD0004",
        f"type: {type_name}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: {} {} {}".format(*samples.shape),
        "space directions: " + " ".join(_vector(axis) for axis in affine[:3, :3].T),
        "kinds: domain domain domain",
        *more,
        "encoding: gzip",
        "space origin: " + _vector(affine[:3, 3]),
    ]
    return "\n".join([*header, "", ""]).encode() + compressed(in_file_order(samples))


def _vector(numbers: Affine) -> str:
    return "({})".format(",".join(repr(float(number)) for number in numbers))


def _header(stream: BufferedIOBase) -> dict[str, Any]:
    """The parsed fields, of which type, dimension, sizes and encoding are present and readable; the stream is left at the data."""
    lines = _field_lines(stream)
    try:
        with np.errstate(invalid="ignore"):  # a size too large for an integer is seen to later
            header: dict[str, Any] = nrrd.read_header(lines)
    except Exception as error:  # the parser raises whatever its steps raise on malformed text
        raise CalvariaError(
            ErrorCode.BAD_HEADER, f"The NRRD header cannot be read: {str(error)[:200] or type(error).__name__}. {AGAIN}"
        ) from error
    if missing := [field for field in _REQUIRED if field not in header]:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The NRRD header lacks {' and '.join(missing)}. {AGAIN}")
    header["sizes"] = _sizes(lines)
    for name in ("type", "encoding", "endian"):
        header[name] = header.get(name, "").lower()
    if header["encoding"] not in ("raw", "gzip", "gz"):
        raise CalvariaError(
            ErrorCode.UNSUPPORTED_ENCODING, f"The NRRD encoding {header['encoding'][:40]!r} is not read; save the file as raw or gzip."
        )
    if skips := [field for field in ("line skip", "lineskip", "byte skip", "byteskip") if header.get(field)]:
        raise CalvariaError(ErrorCode.UNSUPPORTED_ENCODING, f"An NRRD with {' and '.join(skips)} is not read; save it again without.")
    return header


def _sizes(lines: list[str]) -> list[int]:
    """The sizes as written: the parser cuts fractions off, and large numbers down."""
    fields = (line.partition(":") for line in reversed(lines))
    text = next(value for name, _, value in fields if name.strip() == "sizes")
    try:
        return [int(size) for size in text.split()]
    except ValueError as error:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The sizes in the NRRD header must be whole numbers. {AGAIN}") from error


def _field_lines(stream: BufferedIOBase) -> list[str]:
    """The magic, and the lines up to the blank one that matter here: neither comments, nor labels, nor keys of other programs.

    Names of fields come in lower case; like the names of types, they are the same in any.
    """
    lines = [stream.readline(_MAX_HEADER_BYTES).decode(errors="replace")]
    header_bytes = fields_bytes = len(lines[0])
    while (line := stream.readline(_MAX_HEADER_BYTES)).strip():
        header_bytes += len(line)
        if _DETACHED.match(line):
            raise CalvariaError(
                ErrorCode.DETACHED_HEADER, "The samples of this NRRD lie in another file; save it as one .nrrd with an attached header."
            )
        if _READ.match(line):
            fields_bytes += len(line)
            name, value = line.decode(errors="replace").split(":", maxsplit=1)
            lines.append(f"{name.lower()}:{_VECTOR.sub(_closed_up, value)}")
        if header_bytes >= _MAX_HEADER_BYTES or fields_bytes > _MAX_FIELDS_BYTES:
            raise CalvariaError(ErrorCode.BAD_HEADER, f"The NRRD header is far longer than a volume's header is. {AGAIN}")
    return lines


def _closed_up(vector: re.Match[str]) -> str:
    """A vector without blanks about its numbers: the parser ends a vector at a blank."""
    return "({})".format(",".join(number.strip() for number in vector[1].split(",")))


def _sample_type(header: dict[str, Any]) -> np.dtype[Any]:
    if header["type"] not in _TYPES:
        raise CalvariaError(
            ErrorCode.BAD_HEADER, f"The sample type {header['type'][:40]!r} is not a real number; save the mask as unsigned char."
        )
    code = _TYPES[header["type"]]
    if code.endswith("1"):
        return np.dtype(code)
    if header["endian"] not in _BYTE_ORDERS:
        raise CalvariaError(ErrorCode.BAD_HEADER, f"Samples of type {header['type']!r} need the field endian: little or big.")
    return np.dtype(_BYTE_ORDERS[header["endian"]] + code)


def _geometry(header: dict[str, Any]) -> tuple[Affine, list[str]]:
    """Index to LPS mm, and what had to be assumed for it."""
    warnings = []
    affine = np.eye(4)
    if "space directions" in header:
        affine[:3, :3] = _numbers(header, "space directions", (3, 3)).T
    elif "spacings" in header:
        spacings = _numbers(header, "spacings", (3,))
        if not (spacings > 0).all():
            raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The spacings are {spacings.tolist()}; each must be above zero.")
        affine[:3, :3] = np.diag(spacings)
        warnings.append(f"The file gives spacings but no directions; its axes are taken to run {_axes_of(header)}.")
    else:
        warnings.append(f"The file has no spacing and no directions; 1 mm voxels along {_axes_of(header)} are assumed.")
    mins = next((field for field in ("axis mins", "axismins") if field in header), None)
    if "space origin" in header:
        affine[:3, 3] = _numbers(header, "space origin", (3,))
    elif mins:
        affine[:3, 3] = _numbers(header, mins, (3,)) + affine[:3, :3] @ _first_centres(header)
    else:
        warnings.append("The file has no origin; voxel (0, 0, 0) is placed at 0, 0, 0 mm.")
    affine[:3] *= _millimetres(header, warnings)
    return _to_lps(header, warnings) @ affine, warnings


def _axes_of(header: dict[str, Any]) -> str:
    """Where the axes of the space run that the header names, in words; those of LPS where it names none."""
    x, y, _ = np.diag(_SPACES.get(header.get("space", "").lower(), np.eye(4)))[:3]
    return f"{'left' if x > 0 else 'right'}, {'posterior' if y > 0 else 'anterior'} and superior"


def _first_centres(header: dict[str, Any]) -> Affine:
    """Distance of each axis' first sample from the axis' least place, in voxels: half of one, but 0 for nodes, as ITK has it."""
    named = header.get("centers", header.get("centerings", ""))
    centres = named.split() if isinstance(named, str) else list(named)
    return np.array([0.0 if centre == "node" else 0.5 for centre in (centres if len(centres) == 3 else ["cell"] * 3)])


def _millimetres(header: dict[str, Any], warnings: list[str]) -> Affine:
    """The unit of each axis of space [3, 1]: of files with spacings and no directions, of each axis of the volume."""
    units = [unit.lower() for unit in header.get("space units", header.get("units", ["mm"] * 3))]
    if len(units) != 3:
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The header gives {len(units)} units of length; there must be one for each axis.")
    if not _MM.keys() >= set(units):
        warnings.append("The units of length are not known; where they are not, lengths are taken as mm.")
    return np.array([[_MM.get(unit, 1.0)] for unit in units])


def _to_lps(header: dict[str, Any], warnings: list[str]) -> Affine:
    space = header.get("space", "").lower()
    if space in _SPACES:
        return _SPACES[space]
    if space and space not in _UNPLACED_SPACES:
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The space {space[:40]!r} is not known; save the file in left-posterior-superior.")
    if "space directions" in header:
        warnings.append("The file does not say which patient space its directions are in; left-posterior-superior is assumed.")
    return np.eye(4)


def _numbers(header: dict[str, Any], field: str, shape: tuple[int, ...]) -> Affine:
    numbers = np.asarray(header[field], np.float64)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"The field {field} must hold {' × '.join(map(str, shape))} finite numbers. {AGAIN}")
    return numbers
