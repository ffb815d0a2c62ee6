"""What comes in and what goes out, whatever carries it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calvaria.serving.report import Notice
from calvaria.serving.wire import IMAGE_PART, VOLUME_PART, option_of


@dataclass(frozen=True)
class Request:
    """A volume's file, options as text by name (see RequestOptions), and the file of the scan, where it comes along."""

    body: bytes | bytearray | memoryview
    options: Mapping[str, str] = field(default_factory=dict)
    image: bytes | bytearray | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return len(self.body) + len(self.image or b"")

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any], headers: Mapping[str, Any]) -> "Request":
        """From what a server hands over: `body` or the part `volume`, the part `image`; all others, and our headers, are options."""
        body, image = parts.get(VOLUME_PART, parts.get("body", b"")), parts.get(IMAGE_PART)
        ours = {option_of(name): value for name, value in headers.items() if isinstance(value, str)}
        options = {name: _header_text(value) for name, value in ours.items() if name is not None}
        options |= {name: _text(value) for name, value in parts.items() if name not in (VOLUME_PART, IMAGE_PART, "body")}
        return cls(_bytes(body), options, None if image is None else _bytes(image))


@dataclass(frozen=True)
class Response:
    """A file, a ZIP of files, or a refusal.

    code            "ok" or the refusal's ErrorCode value
    seconds         by stage, as far as the request came; network is that of the call the request shared with its batch
    network_share_s that call's seconds, divided evenly among the requests that shared it
    occupied        occupied voxels of the volume that came in; 0 if it could not be read
    warnings        about that volume and the answer
    failure         of an unforeseen error, for the log alone: what it was and where
    """

    body: bytes
    status: int
    code: str
    content_type: str
    seconds: Mapping[str, float]
    occupied: int
    warnings: Sequence[Notice]
    failure: str = ""
    network_share_s: float = 0.0


def _bytes(value: Any) -> bytes | bytearray:
    """A part as it was sent: of those that say they are text or JSON, TorchServe hands over what it read in them."""
    if isinstance(value, bytes | bytearray):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode(errors="replace")


def _header_text(value: str) -> str:
    """What the client wrote: servers read the bytes of a header as Latin-1, ours are UTF-8."""
    return value.encode("latin-1", errors="replace").decode("utf-8", errors="replace")


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8", errors="replace")
