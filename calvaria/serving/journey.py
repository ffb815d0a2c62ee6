"""One request's way through the stages, and whatever stops it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from calvaria.errors import CalvariaError, ErrorCode, error_code
from calvaria.io import Decoded
from calvaria.predictor import Asked, Inferred
from calvaria.serving.logline import whereabouts
from calvaria.serving.messages import Request, Response
from calvaria.serving.options import RequestOptions
from calvaria.serving.report import Notice
from calvaria.serving.wire import JSON_TYPE, encode_refusal

log = logging.getLogger(__name__)


class Journey:
    """What is known of one request so far. After an error nothing more is attempted."""

    options: RequestOptions
    decoded: Decoded
    asked: list[Asked]
    inferred: list[Inferred]
    body: bytes
    content_type: str

    def __init__(self, request: Request):
        self.request = request
        self.network_share_s = 0.0
        self.seconds: dict[str, float] = {}
        self.occupied = 0
        self.warnings: list[Notice] = []
        self.postponed = False
        self.error: CalvariaError | None = None
        self.failure = ""

    def attempt(self, stage: Callable[["Journey"], None]) -> None:
        if self.error is None:
            try:
                stage(self)
            except CalvariaError as error:
                self.refuse(error)
            except Exception as error:
                self.failure = whereabouts(error)
                log.debug("a request failed", exc_info=error)
                self.refuse(_refusal(error))

    def refuse(self, error: CalvariaError) -> None:
        """End here. What is kept has no traceback, which would keep every array of every stage alive."""
        self.error, self.postponed = CalvariaError(error.code, error.message), False
        self.forget()

    @property
    def waiting_bytes(self) -> int:
        """What it holds from the moment it is prepared until its answer is finished."""
        volume = self.decoded.volume
        masks = [volume.mask, *([volume.samples] if volume.samples is not volume.mask else [])]
        masks += [each.part.volume.mask for each in self.asked if each.part]
        return sum(mask.nbytes for mask in masks) + sum(each.prepared.waiting_bytes for each in self.asked)

    def forget(self) -> None:
        """Let go of everything large but the answer."""
        for name in ("decoded", "asked", "inferred"):
            self.__dict__.pop(name, None)
        if self.error:
            self.__dict__.pop("body", None)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to a stage's seconds."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start

    def warn(self, *notices: Notice) -> None:
        self.warnings += notices

    def response(self) -> Response:
        measured = self.seconds, self.occupied, tuple(self.warnings), self.failure, self.network_share_s
        if self.error is None:
            return Response(self.body, 200, "ok", self.content_type, *measured)
        code = self.error.code
        return Response(encode_refusal(self.error), int(code.status), code.value, JSON_TYPE, *measured)


def _refusal(error: Exception) -> CalvariaError:
    """What the client may know of an unforeseen error."""
    if error_code(error) is ErrorCode.OUT_OF_MEMORY:
        return CalvariaError(
            ErrorCode.OUT_OF_MEMORY, "The server has not enough memory for this volume. Send a smaller one, or try again later."
        )
    return CalvariaError(ErrorCode.INTERNAL, "The server failed on this volume; its log says why. The volume may be sent again.")
