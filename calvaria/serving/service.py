"""A batch of requests on its way: decode, prepare, one network call, finish, encode. A failure stays with its own request."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import DEFAULT_MAX_VOXELS, Decoded, decode, encode
from calvaria.predictor import Inferred, Predictor
from calvaria.serving.options import RequestOptions
from calvaria.serving.wire import CONTENT_TYPES, HEADER_PREFIX, JSON_TYPE, VOLUME_PART, encode_refusal
from calvaria.tasks import Prepared

log = logging.getLogger(__name__)

STAGES = ("decode", "prepare", "network", "finish", "encode")


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    max_voxels      voxels of a volume, occupied or not; checked before memory is taken for them
    max_answer_mib  size of an answer's body; TorchServe kills a worker that sends more than its own limit
    """

    max_voxels: int = DEFAULT_MAX_VOXELS
    max_answer_mib: float = 60.0


@dataclass(frozen=True)
class Request:
    """A volume's file, and options as text by name (see RequestOptions)."""

    body: bytes | bytearray | memoryview
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes | bytearray | str], headers: Mapping[str, Any]) -> "Request":
        """From what a server hands over: `body` or the part `volume` is the file, other parts and our headers are options."""
        body = parts.get(VOLUME_PART, parts.get("body", b""))
        ours = {name.lower(): value for name, value in headers.items() if name.lower().startswith(HEADER_PREFIX) and isinstance(value, str)}
        options = {name.removeprefix(HEADER_PREFIX): _header_text(value) for name, value in ours.items()}
        options |= {name: _text(value) for name, value in parts.items() if name not in (VOLUME_PART, "body")}
        return cls(body.encode() if isinstance(body, str) else body, options)


@dataclass(frozen=True)
class Response:
    """A volume's file, or a refusal.

    code            "ok" or the refusal's ErrorCode value
    seconds         by stage, as far as the request came; network is that of the call the request shared with its batch
    occupied        occupied voxels of the volume that came in; 0 if it could not be read
    warnings        what was assumed about that volume because its file does not say it; fixed sentences, nothing of the client's
    """

    body: bytes
    status: int
    code: str
    content_type: str
    seconds: Mapping[str, float]
    occupied: int
    warnings: Sequence[str]


class Service:
    """Answers requests with a predictor. One thread at a time."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None):
        self.predictor = predictor
        self.limits = limits or Limits()

    def handle(self, requests: Sequence[Request]) -> list[Response]:
        """Exactly one response per request, in order. Never raises for what a request holds."""
        journeys = [_Journey(request) for request in requests]
        for journey in journeys:
            journey.attempt(self._open)
        if opened := [journey for journey in journeys if journey.error is None]:
            self._infer(opened)
        for journey in journeys:
            journey.attempt(self._close)
        return [journey.response() for journey in journeys]

    def _open(self, journey: "_Journey") -> None:
        request = journey.request
        if not len(request.body):
            message = (
                "There is no volume. Send the file as the raw body (curl -T file; --data-binary is read as a form) or as the part `volume`."
            )
            raise CalvariaError(ErrorCode.EMPTY_BODY, message)
        journey.options = RequestOptions.parse(request.options, self.predictor.task.outputs)
        with journey.timed("decode"):
            journey.decoded = decode(request.body, label=journey.options.label, max_voxels=self.limits.max_voxels)
        journey.occupied = journey.decoded.volume.occupied
        journey.warnings = journey.decoded.warnings
        for warning in journey.warnings:
            log.warning("a volume came in: %s", warning)
        with journey.timed("prepare"):
            journey.prepared = self.predictor.prepare(journey.decoded.volume)

    def _infer(self, journeys: Sequence["_Journey"]) -> None:
        """One network call; should it fail, one for each half of the batch: less memory at once, and a failure meets whom it belongs to."""
        if len(journeys) == 1:
            return journeys[0].attempt(lambda journey: self._infer_together([journey]))
        try:
            return self._infer_together(journeys)
        except torch.OutOfMemoryError as error:
            log.warning("a batch of %d takes too much memory of the device; now in halves: %s", len(journeys), error)
        except Exception:
            log.exception("the network failed for a batch of %d; now in halves", len(journeys))
        half = len(journeys) // 2
        self._infer(journeys[:half])
        self._infer(journeys[half:])

    def _infer_together(self, journeys: Sequence["_Journey"]) -> None:
        start = perf_counter()
        answers = self.predictor.infer([journey.prepared for journey in journeys])
        seconds = perf_counter() - start
        for journey, answer in zip(journeys, answers, strict=True):
            journey.inferred = answer
            journey.seconds["network"] = seconds

    def _close(self, journey: "_Journey") -> None:
        options = journey.options
        journey.format = options.format or journey.decoded.format
        with journey.timed("finish"):
            volume = self.predictor.finish(journey.prepared, journey.inferred)[options.output]
        with journey.timed("encode"):
            body = encode(volume, journey.format)
        if len(body) > self.limits.max_answer_mib * 2**20:
            message = (
                f"The answer as {journey.format} has {len(body) / 2**20:.0f} MiB, more than the {self.limits.max_answer_mib:g} MiB sent. "
            )
            raise CalvariaError(ErrorCode.TOO_LARGE, message + "Ask for a compressed format: nrrd or nii.gz.")
        journey.body = body


class _Journey:
    """One request's way through the stages. After an error nothing more is attempted."""

    options: RequestOptions
    decoded: Decoded
    prepared: Prepared
    inferred: Inferred
    format: str
    body: bytes

    def __init__(self, request: Request):
        self.request = request
        self.seconds: dict[str, float] = {}
        self.occupied = 0
        self.warnings: tuple[str, ...] = ()
        self.error: CalvariaError | None = None

    def attempt(self, stage: Callable[["_Journey"], None]) -> None:
        if self.error is None:
            try:
                stage(self)
            except Exception as error:
                self.error = _refusal(error)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = perf_counter() - start

    def response(self) -> Response:
        measured = self.seconds, self.occupied, self.warnings
        if self.error is None:
            return Response(self.body, 200, "ok", CONTENT_TYPES[self.format], *measured)
        code = self.error.code
        return Response(encode_refusal(self.error), int(code.status), code.value, JSON_TYPE, *measured)


def _refusal(error: Exception) -> CalvariaError:
    """What the client may know of an error; the rest goes to the log."""
    if isinstance(error, CalvariaError):
        return error
    log.error("a request failed", exc_info=error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return CalvariaError(
            ErrorCode.OUT_OF_MEMORY, "The server has not enough memory for this volume. Send a smaller one, or try again later."
        )
    return CalvariaError(ErrorCode.INTERNAL, "The server failed on this volume; its log says why. The volume may be sent again.")


def _header_text(value: str) -> str:
    """What the client wrote: servers read the bytes of a header as Latin-1, ours are UTF-8."""
    return value.encode("latin-1", errors="replace").decode("utf-8", errors="replace")


def _text(value: bytes | bytearray | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")
