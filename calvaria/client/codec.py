"""What both transports share: volumes to bodies, options to text, bodies to answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from calvaria.client.retry import Busy, Retry, Watch
from calvaria.client.tokens import PAUSE_S, find_token
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import reading
from calvaria.io import decode, encode
from calvaria.serving.options import AnswerOptions, Options, encode_options
from calvaria.serving.report import REPORT_FILE, Report
from calvaria.serving.wire import decode_refusal, unpack
from calvaria.volume import BinaryVolume

Source = BinaryVolume | Path | str | bytes
"""A volume, the path of its file, or the file's bytes."""

Scan = Path | str | bytes
"""The path of a scan's file, or the file's bytes."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Several outputs of one request: volumes by output, and what the server says of them."""

    volumes: Mapping[str, BinaryVolume]
    report: Report


@dataclass(frozen=True)
class Answer:
    """A server's answer.

    body     a file, or a ZIP of several and a report
    seconds  the server's time by stage
    warning  what the server warns of, as sentences

    Over gRPC, which carries nothing but the body, both are empty; a report has them.
    """

    body: bytes
    seconds: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""

    @cached_property
    def files(self) -> dict[str, bytes] | None:
        """The files of a ZIP by name; None where the body is a file itself."""
        return unpack(self.body)

    @cached_property
    def report(self) -> Report | None:
        """The report that came with several outputs, or was asked for."""
        return Report.from_json(self.files.get(REPORT_FILE, b"")) if self.files else None

    @cached_property
    def volume(self) -> BinaryVolume:
        """The one output asked for. BAD_OPTION where there are several."""
        if self.report is None:
            return decode(self.body, keep_labels=True).volume
        if len(self.report.files) > 1:
            raise bad_option("The answer holds several outputs; ask for one, or use predict_several.")
        return next(iter(self.prediction.volumes.values()))

    @cached_property
    def prediction(self) -> Prediction:
        """The outputs of a ZIP. BAD_OPTION where there is none."""
        if self.files is None or self.report is None:
            raise bad_option("The answer is a file without a report; ask for report=True or several outputs.")
        volumes = {output: decode(self.files[name], keep_labels=True).volume for output, name in self.report.files.items()}
        return Prediction(volumes, self.report)


class Caller(ABC):
    """A client of either transport. As a context manager it is closed at the end.

    key_file   which the server wrote when it started; by default key_file.json in this folder or the nearest one above it. Read
               anew for each call, since tokens change when a server restarts or renews them; without one, no token is sent
    token      instead of a key file
    ca_file    certificates (PEM) to trust a server with that speaks TLS: its own, or that of whoever signed it; by default those that
               this machine trusts
    timeout_s  for the whole answer, queue included; each attempt has it anew; inf for no limit. Over HTTP an answer that stops coming is
               waited for as long once more
    retry      what to do while the server is busy; NEVER to be told at once
    """

    def __init__(self, key_file: Path | str | None, token: str | None, timeout_s: float, retry: Retry):
        if not timeout_s > 0:
            raise bad_option(f"timeout_s must be a number of seconds above zero, not {timeout_s}.")
        self.key_file = Path(key_file) if key_file else None
        self.token = token
        self.timeout_s = timeout_s
        self.retry = retry

    def predict(
        self,
        model: str,
        source: Source,
        *,
        image: Scan | None = None,
        output: str | None = None,
        progress: Watch | None = None,
        **options: Unpack[AnswerOptions],
    ) -> BinaryVolume:
        """One of the model's outputs as a volume; options: see RequestOptions. CalvariaError if it is refused.

        image: the scan that the mask was drawn in, for a model that makes use of it.
        """
        return self.request(model, source, image=image, progress=progress, output=output, format="nrrd", **options).volume

    def predict_several(
        self,
        model: str,
        source: Source,
        outputs: Sequence[str],
        *,
        image: Scan | None = None,
        progress: Watch | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Prediction:
        """Some of the model's outputs from one request, and its report."""
        asked = self.request(model, source, image=image, progress=progress, output=outputs, format="nrrd", report=True, **options)
        return asked.prediction

    def request(
        self, model: str, source: Source, *, image: Scan | None = None, progress: Watch | None = None, **options: Unpack[Options]
    ) -> Answer:
        """Outputs as files, in the input's format unless another is asked for, with the server's stage times."""
        scan = None if image is None else encode_source(image)
        return self.send(model, encode_source(source), encode_options(**options), progress, scan)

    def send(
        self, model: str, body: bytes, options: Mapping[str, str], progress: Watch | None = None, image: bytes | None = None
    ) -> Answer:
        """A body and options as they are; the answer or, raised, the refusal."""
        if not model.strip("."):
            raise CalvariaError(ErrorCode.UNKNOWN_MODEL, f"{model!r} is no model's name. `calvaria status` names those that a server has.")
        return self.retry.call(lambda: self._entitled(lambda token: self._send(token, model, body, options, progress, image)))

    def _entitled(self, send: Callable[[str | None], Answer]) -> Answer:
        """Send with the token; should it be refused, once more where the key file has another by now."""
        token = self.read_token()
        try:
            return send(token)
        except CalvariaError as error:
            if error.code is not ErrorCode.UNAUTHORIZED:
                raise
            time.sleep(PAUSE_S)  # the old one is refused before the new one is written
            if (another := self.read_token()) == token:
                raise
        return send(another)

    def read_token(self) -> str | None:
        """The token; None without one. CalvariaError UNAUTHORIZED for what no header could carry, without repeating it."""
        token = (self.token or find_token(self.key_file) or "").strip()
        if not (token.isascii() and token.isprintable()):
            raise CalvariaError(ErrorCode.UNAUTHORIZED, "The token holds characters that no token has. Give the client the key_file.json.")
        return token or None

    @abstractmethod
    def _send(
        self, token: str | None, model: str, body: bytes, options: Mapping[str, str], progress: Watch | None, image: bytes | None
    ) -> Answer:
        """Send once; raises Busy or another CalvariaError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def encode_source(source: Source) -> bytes:
    """The body for a volume; BAD_OPTION for a file that cannot be read."""
    if isinstance(source, BinaryVolume):
        return encode(source, "nrrd")
    if isinstance(source, bytes):
        return source
    with reading(source):
        return Path(source).read_bytes()


def accept(answer: Answer) -> Answer:
    """The answer itself, unless its body is a refusal, which is raised: Busy, or a CalvariaError."""
    refusal = decode_refusal(answer.body)
    if refusal:
        raise Busy(refusal.code, refusal.message) if refusal.code is ErrorCode.UNAVAILABLE else refusal
    return answer
