"""Everything that can be wrong with what a user hands us, each with a stable code and a fitting HTTP status."""

from enum import Enum
from http import HTTPStatus


class ErrorCode(Enum):
    """Stable, machine-readable reasons for a refusal. `value` is the code on the wire; `status` its HTTP status."""

    status: HTTPStatus

    def __new__(cls, code: str, status: HTTPStatus) -> "ErrorCode":
        member = object.__new__(cls)
        member._value_ = code
        member.status = status
        return member

    EMPTY_BODY = "empty-body", HTTPStatus.BAD_REQUEST
    UNKNOWN_OPTION = "unknown-option", HTTPStatus.BAD_REQUEST
    BAD_OPTION = "bad-option", HTTPStatus.BAD_REQUEST
    NOT_A_VOLUME = "not-a-volume", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    UNSUPPORTED_ENCODING = "unsupported-encoding", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    DETACHED_HEADER = "detached-header", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    TRUNCATED = "truncated", HTTPStatus.BAD_REQUEST
    BAD_HEADER = "bad-header", HTTPStatus.BAD_REQUEST
    TOO_LARGE = "too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    WRONG_DIMENSION = "wrong-dimension", HTTPStatus.UNPROCESSABLE_ENTITY
    BAD_GEOMETRY = "bad-geometry", HTTPStatus.UNPROCESSABLE_ENTITY
    NOT_BINARY = "not-binary", HTTPStatus.UNPROCESSABLE_ENTITY
    NOT_HOUNSFIELD = "not-hounsfield", HTTPStatus.UNPROCESSABLE_ENTITY
    EMPTY_MASK = "empty-mask", HTTPStatus.UNPROCESSABLE_ENTITY
    FULL_MASK = "full-mask", HTTPStatus.UNPROCESSABLE_ENTITY
    LABEL_ABSENT = "label-absent", HTTPStatus.UNPROCESSABLE_ENTITY
    OUT_OF_MEMORY = "out-of-memory", HTTPStatus.INSUFFICIENT_STORAGE
    INTERNAL = "internal", HTTPStatus.INTERNAL_SERVER_ERROR
    # What TorchServe itself refuses; the client translates its body into these.
    UNAUTHORIZED = "unauthorized", HTTPStatus.UNAUTHORIZED
    UNKNOWN_MODEL = "unknown-model", HTTPStatus.NOT_FOUND
    UNAVAILABLE = "unavailable", HTTPStatus.SERVICE_UNAVAILABLE
    TIMEOUT = "timeout", HTTPStatus.GATEWAY_TIMEOUT


def error_code(error: Exception) -> ErrorCode:
    """The code of whatever was raised: a refusal's own, OUT_OF_MEMORY where memory is what it wanted, else INTERNAL.

    Memory of this machine, of PyTorch's share of a GPU, or of CUDA's and Triton's beside it, which say so in words alone.
    """
    if isinstance(error, CalvariaError):
        return error.code
    said = str(error)
    exhausted = isinstance(error, MemoryError) or "can't allocate memory" in said or "out of memory" in said
    return ErrorCode.OUT_OF_MEMORY if exhausted else ErrorCode.INTERNAL


class CalvariaError(Exception):
    """A refusal that names what is wrong and what to do about it.

    `message` is one or two plain sentences for a person; `code` is for programs and never changes its meaning.
    """

    def __init__(self, code: ErrorCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["CalvariaError"], tuple[ErrorCode, str]]:
        return type(self), (self.code, self.message)


def bad_option(message: str) -> CalvariaError:
    """A refusal of what was asked for, to be raised."""
    return CalvariaError(ErrorCode.BAD_OPTION, message)
