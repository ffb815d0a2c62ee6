"""What both transports share: volumes to bodies, options to text, bodies to answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, encode
from calvaria.serving.wire import decode_refusal
from calvaria.volume import BinaryVolume

Source = BinaryVolume | Path | str | bytes
"""A volume, the path of its file, or the file's bytes."""


@dataclass(frozen=True)
class Answer:
    """A server's answer.

    body     the volume's file
    seconds  the server's time by stage
    warning  what the server had to assume about the volume, as sentences

    Over gRPC, which carries nothing but the body, there are neither.
    """

    body: bytes
    seconds: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""

    @cached_property
    def volume(self) -> BinaryVolume:
        return decode(self.body).volume


class Caller(ABC):
    """A client of either transport. As a context manager it is closed at the end."""

    def predict(self, model: str, source: Source, *, output: str | None = None, label: int | None = None) -> BinaryVolume:
        """The model's answer as a volume on the input's grid; see RequestOptions. CalvariaError if it is refused."""
        return self.request(model, source, output=output, format="nrrd", label=label).volume

    def request(
        self, model: str, source: Source, *, output: str | None = None, format: str | None = None, label: int | None = None
    ) -> Answer:
        """The same as a file, in the input's format unless another is asked for, with the server's stage times."""
        return self.send(model, encode_source(source), encode_options(output=output, format=format, label=label))

    @abstractmethod
    def send(self, model: str, body: bytes, options: Mapping[str, str]) -> Answer:
        """A body and options as they are; the answer or, raised, the refusal."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def encode_source(source: Source) -> bytes:
    if isinstance(source, BinaryVolume):
        return encode(source, "nrrd")
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def encode_options(**options: str | int | None) -> dict[str, str]:
    """Options as text by name, without those not given."""
    texts = {name: str(value) for name, value in options.items() if value is not None}
    for name, text in texts.items():
        if not text.isprintable():
            raise CalvariaError(ErrorCode.BAD_OPTION, f"{name} cannot be {text!r}.")
    return texts


def accept(answer: Answer) -> Answer:
    """The same answer, unless its body is a refusal, which is raised."""
    refusal = decode_refusal(answer.body)
    if refusal:
        raise refusal
    return answer
