"""The client for HTTP."""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import httpx

from calvaria.client import refusals
from calvaria.client.codec import Answer, Caller, accept
from calvaria.client.retry import Retry, Transfer, Watch
from calvaria.client.trust import known_as, trust
from calvaria.errors import bad_option
from calvaria.serving.wire import IMAGE_PART, TIMING_HEADER, VOLUME_PART, WARNING_HEADER, header_of, stage_seconds

CHUNK_BYTES = 2**18
"""Sent between two reports of progress."""


class Client(Caller):
    """Calls a server over HTTP, e.g. `Client().predict("completion", "in.nrrd", output="implant")`.

    url   of the server's inference address, http:// or https://
    name  that its certificate has, where the address says another

    The other arguments: see Caller.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key_file: Path | str | None = None,
        token: str | None = None,
        ca_file: Path | str | None = None,
        name: str | None = None,
        timeout_s: float = 600.0,
        retry: Retry = Retry(),
        transport: httpx.BaseTransport | None = None,
    ):
        super().__init__(key_file, token, timeout_s, retry)
        if not _is_address(url):
            raise bad_option(f"An address is http:// or https:// and a host, unlike {url}.")
        self.url = url.rstrip("/")
        self._extensions = known_as(name)
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s if isfinite(timeout_s) else None, connect=10.0),
            verify=trust(ca_file),
            transport=transport,
            trust_env=False,
        )

    def _send(
        self, token: str | None, model: str, body: bytes, options: Mapping[str, str], progress: Watch | None, image: bytes | None
    ) -> Answer:
        body, kind = (body, b"application/octet-stream") if image is None else _form({VOLUME_PART: body, IMAGE_PART: image})
        headers = {b"content-type": kind, b"content-length": str(len(body)).encode()}
        headers |= {b"authorization": f"Bearer {token}".encode()} if token else {}
        headers |= {header_of(name).encode(): text.encode() for name, text in options.items()}
        content = _sent(body, progress) if progress else body
        url = f"{self.url}/predictions/{quote(model, safe='')}"
        start = monotonic()
        try:
            with self._http.stream("POST", url, content=content, headers=headers, extensions=self._extensions) as response:
                received = _received(response, progress, self.timeout_s - (monotonic() - start))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing refuses it, either, where a firewall is silent
            raise refusals.unreachable(self.url, error) from error
        except httpx.TimeoutException as error:
            raise refusals.timed_out() from error
        except httpx.RequestError as error:
            raise refusals.broken_off(self.url, error) from error
        answer = accept(Answer(received, stage_seconds(response.headers.get(TIMING_HEADER, "")), response.headers.get(WARNING_HEADER, "")))
        if refusal := refusals.from_http(response.status_code, response.headers, received):
            raise refusal
        return answer

    def close(self) -> None:
        self._http.close()


def _form(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """A multipart form of files by name, and its content type."""
    form = httpx.Request("POST", "http://form", files={name: (name, content) for name, content in files.items()})
    return form.read(), form.headers["content-type"].encode()


def _sent(body: bytes, progress: Watch) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        progress(Transfer("sending", start, len(body)))
        yield body[start : start + CHUNK_BYTES]
    progress(Transfer("sending", len(body), len(body)))


def _received(response: httpx.Response, progress: Watch | None, timeout_s: float) -> bytes:
    """All of the answer. CalvariaError TIMEOUT where it takes longer, however steadily it comes."""
    end = monotonic() + timeout_s
    total = int(response.headers["content-length"]) if "content-length" in response.headers else None
    content = bytearray()
    for chunk in response.iter_bytes():
        if monotonic() > end:
            raise refusals.timed_out()
        content += chunk
        if progress:
            progress(Transfer("receiving", len(content), total))
    return bytes(content)


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)
