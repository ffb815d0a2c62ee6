"""How answers look on the wire, alike over HTTP and gRPC: a volume's file as it is, or a refusal as JSON.

gRPC through TorchServe carries nothing but the body, so a client tells the two apart by the first byte: a refusal starts with `{`,
a volume never does.
"""

import json

from calvaria.errors import CalvariaError, ErrorCode

JSON_TYPE = "application/json"
CONTENT_TYPES = {"nrrd": "application/x-nrrd", "nii": "application/x-nifti", "nii.gz": "application/gzip"}
"""Content type of an answer by its format."""

HEADER_PREFIX = "x-calvaria-"
"""With a raw body over HTTP, the option `output` travels as the header `X-Calvaria-Output`, and so on; case does not matter."""

WARNING_HEADER = "X-Calvaria-Warning"
"""With an answer over HTTP: what was assumed about the volume because its file does not say it, as sentences in ASCII."""

VOLUME_PART = "volume"
"""Name of the volume in a multipart form and in a gRPC input map."""


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
    except (ValueError, KeyError, TypeError):
        return None
    known = {member.value: member for member in ErrorCode}
    return CalvariaError(known.get(code, ErrorCode.INTERNAL), message)
