"""What TorchServe itself refuses, in our codes and with advice. Its words are read only where its status says too little."""

import json
import re
from collections.abc import Mapping

import grpc

from calvaria.client.retry import Busy
from calvaria.errors import CalvariaError, ErrorCode

OK = 200

ADVICE = {
    ErrorCode.BAD_OPTION: "The server cannot read the request. Send it as Calvaria's clients do, or a file with curl -T.",
    ErrorCode.UNAUTHORIZED: "The server wants a valid token. Give the client its inference token or, on the server's own machine, its "
    "key_file.json; tokens expire and change when it restarts.",
    ErrorCode.UNKNOWN_MODEL: "The server has no such model. `calvaria status` names those it has.",
    ErrorCode.TOO_LARGE: "The request is larger than the server accepts. Send the volume gzip-compressed, or raise max_request_size.",
    ErrorCode.UNAVAILABLE: "The server cannot take the request now: its queue is full, or its worker is starting. Try again in a moment.",
    ErrorCode.OUT_OF_MEMORY: "The server ran out of memory. Send a smaller volume, or try again later.",
    ErrorCode.TIMEOUT: "The server did not answer in time. Give the client a longer timeout, or look whether the server is busy.",
    ErrorCode.INTERNAL: "The server failed; its log says why.",
}

BY_HTTP_STATUS = {
    400: ErrorCode.BAD_OPTION,
    401: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.UNKNOWN_MODEL,
    408: ErrorCode.UNAVAILABLE,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.UNAVAILABLE,
    503: ErrorCode.UNAVAILABLE,
    504: ErrorCode.TIMEOUT,
    507: ErrorCode.OUT_OF_MEMORY,
}

BY_GRPC_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: ErrorCode.BAD_OPTION,
    grpc.StatusCode.PERMISSION_DENIED: ErrorCode.UNAUTHORIZED,
    grpc.StatusCode.UNAUTHENTICATED: ErrorCode.UNAUTHORIZED,
    grpc.StatusCode.NOT_FOUND: ErrorCode.UNKNOWN_MODEL,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorCode.TOO_LARGE,
    # The server resets the stream while too large a message is still being sent; this client never cancels by itself.
    grpc.StatusCode.CANCELLED: ErrorCode.TOO_LARGE,
    grpc.StatusCode.UNAVAILABLE: ErrorCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorCode.TIMEOUT,
}

BY_WORDS = {
    "Token Authorization failed": ErrorCode.UNAUTHORIZED,
    "Model not found": ErrorCode.UNKNOWN_MODEL,
    "has no worker to serve": ErrorCode.UNAVAILABLE,
    "Worker died": ErrorCode.UNAVAILABLE,
    "direct buffer memory": ErrorCode.UNAVAILABLE,  # it is full of other bodies that are being received
}

FROM_BETWEEN = re.compile(r"http2 header with status: (\d+)")
"""What gRPC says of an answer that a proxy gave: the server's own have HTTP's status 200, whatever they say."""


def from_http(status: int, headers: Mapping[str, str], body: bytes) -> CalvariaError | None:
    """The error in an answer that is no refusal of ours; None where there is none, and the body is what was asked for."""
    if status == OK and body and not body.startswith(b"{") and not headers.get("content-type", "").startswith("text/html"):
        return None
    if between := _from_between(status, headers, body):
        return CalvariaError(ErrorCode.UNAVAILABLE, between)
    return _refusal(_by_words(_message(body)) or BY_HTTP_STATUS.get(status, ErrorCode.INTERNAL), f"HTTP {status}: {_message(body)}")


def _from_between(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """What is to be said of an answer that the server itself did not give, or that leads elsewhere; empty for its own."""
    original = f"(HTTP {status}: {_message(body)})"
    if b"only accepts HTTPS" in body:
        return "The server speaks TLS alone: give the client an address that begins with https."
    if location := headers.get("location", "") if 300 <= status < 400 else "":
        return f"The server redirects to {location.split('/predictions/')[0]}: give the client that address. (HTTP {status})"
    if status == 502:
        return f"A proxy before the server got no answer from it: it may be starting, or down. Try again in a moment. {original}"
    if status in (403, 407):
        return f"A proxy before the server refused the request: ask whoever runs it. {original}"
    if status == OK:
        return f"What came is no answer, but a page perhaps, as of a proxy that wants a login: no Calvaria is at this address. {original}"
    return ""


def from_grpc(status: grpc.StatusCode, details: str) -> CalvariaError:
    if (between := FROM_BETWEEN.search(details)) and (refusal := from_http(int(between[1]), {}, details.encode())):
        return refusal
    return _refusal(_by_words(details) or BY_GRPC_STATUS.get(status, ErrorCode.INTERNAL), f"{status.name}: {details}")


def timed_out() -> CalvariaError:
    return _refusal(ErrorCode.TIMEOUT)


def unreachable(where: str, why: object) -> CalvariaError:
    if "CERTIFICATE" in str(why):
        message = f"The server at {where} shows a certificate that is not trusted here ({why}). Give the client its ca_file."
        return CalvariaError(ErrorCode.UNAVAILABLE, message)
    return CalvariaError(ErrorCode.UNAVAILABLE, f"No server answers at {where} ({why}). Start one with `calvaria serve`.")


def broken_off(where: str, why: object) -> CalvariaError:
    message = f"The connection to {where} broke off ({why or type(why).__name__}), as it does where a server is full or ends. Try again."
    return CalvariaError(ErrorCode.UNAVAILABLE, message)


def _by_words(text: str) -> ErrorCode | None:
    return next((code for words, code in BY_WORDS.items() if words in text), None)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return body[:200].decode("utf-8", errors="replace")


def _refusal(code: ErrorCode, original: str = "") -> CalvariaError:
    kind = Busy if code is ErrorCode.UNAVAILABLE else CalvariaError
    return kind(code, f"{ADVICE[code]} ({original})" if original else ADVICE[code])
