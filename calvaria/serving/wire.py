"""How answers look on the wire, alike over HTTP and gRPC: a file as it is, a ZIP of several, or a refusal as JSON.

gRPC through TorchServe carries nothing but the body, so a client tells them apart by the first bytes: a refusal starts with `{`,
a ZIP with `PK`, a volume or a surface with neither.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from calvaria.errors import CalvariaError, ErrorCode

JSON_TYPE = "application/json"
ZIP_TYPE = "application/zip"
CONTENT_TYPES = {"nrrd": "application/x-nrrd", "nii": "application/x-nifti", "nii.gz": "application/gzip", "stl": "model/stl"}
"""Content type of a single file by its format."""

HEADER_PREFIX = "x-calvaria-"
"""With a raw body over HTTP, the option `output` travels as the header `X-Calvaria-Output`, `smallest_mm3` as
`X-Calvaria-Smallest-Mm3`, and so on; case does not matter, and underscores, which proxies drop, become hyphens."""

WARNING_HEADER = "X-Calvaria-Warning"
"""Header of an answer over HTTP: its warnings, as sentences in ASCII."""

TIMING_HEADER = "Server-Timing"
"""Header of an answer over HTTP: how long each stage took (W3C)."""

HEADER_BYTES = 2000
"""Bytes of warnings at most: nginx, as it comes, takes 4 KiB for all headers of an answer."""

VOLUME_PART = "volume"
"""Name of the volume in a multipart form and in a gRPC input map."""

IMAGE_PART = "image"
"""Name of the scan that a mask was drawn in, beside the volume, for tasks that make use of it."""

_COMPRESSED = ".nrrd", ".nii.gz"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same files


def header_of(option: str) -> str:
    """Name of the header that carries an option, in lower case."""
    return HEADER_PREFIX + option.replace("_", "-")


def option_of(header: str) -> str | None:
    """Name of the option that a header carries; None for a header that is none of ours."""
    name = header.lower()
    return name.removeprefix(HEADER_PREFIX).replace("-", "_") if name.startswith(HEADER_PREFIX) else None


def encode_refusal(error: CalvariaError) -> bytes:
    """`{"error": {"code", "message", "status"}}`, ASCII."""
    fields = {"code": error.code.value, "message": error.message, "status": int(error.code.status)}
    return json.dumps({"error": fields}).encode("ascii")


def decode_refusal(body: bytes) -> CalvariaError | None:
    """The refusal in a body; None if it holds something else. A code that this version does not know becomes INTERNAL."""
    if not body.startswith(b"{"):
        return None
    try:
        fields = json.loads(body)["error"]
        code, message = str(fields["code"]), str(fields["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    known = {member.value: member for member in ErrorCode}
    return CalvariaError(known.get(code, ErrorCode.INTERNAL), message)


def timing_text(seconds: Mapping[str, float]) -> str:
    """Seconds by stage as the header says them, in milliseconds."""
    return ", ".join(f"{stage};dur={1000 * duration:.3f}" for stage, duration in seconds.items())


def stage_seconds(header: str) -> dict[str, float]:
    """The inverse of `timing_text`; entries without a duration are left out."""
    return {stage: float(milliseconds) / 1000 for stage, milliseconds in re.findall(r"([\w-]+);dur=(\d+(?:\.\d+)?)", header)}


def header_text(sentences: Sequence[str]) -> str:
    """Sentences as a header may hold them, whatever proxy reads it: the first that fit, and how many more there are."""
    fitting, length = 0, 0
    while fitting < len(sentences) and length + len(sentences[fitting]) <= HEADER_BYTES:
        length += len(sentences[fitting]) + 1
        fitting += 1
    left = len(sentences) - fitting
    return " ".join([*sentences[:fitting], *([f"And {left} more: ask for a report."] if left else [])])


def pack(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of files by name, those stored that are compressed already."""
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, content in files.items():
            method = ZIP_STORED if name.endswith(_COMPRESSED) else ZIP_DEFLATED
            archive.writestr(ZipInfo(name, _ZIP_EPOCH), content, method, compresslevel=1)
    return packed.getvalue()


def unpack(body: bytes) -> dict[str, bytes] | None:
    """The files of a ZIP by name; None if a body is no ZIP."""
    if not body.startswith(b"PK"):
        return None
    try:
        with ZipFile(BytesIO(body)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (BadZipFile, EOFError, zlib.error) as error:
        raise CalvariaError(ErrorCode.TRUNCATED, f"The ZIP cannot be read ({error}); ask for it again.") from error
