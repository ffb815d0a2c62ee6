"""The client for HTTP."""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx

from calvaria.client import refusals
from calvaria.client.codec import Answer, Caller, accept
from calvaria.client.tokens import KEY_FILE, read_token
from calvaria.serving.wire import HEADER_PREFIX, WARNING_HEADER


class Client(Caller):
    """Calls a server over HTTP, e.g. `Client().predict("completion", "in.nrrd", output="implant")`.

    url        of the server's inference address
    key_file   which the server wrote when it started; read anew for each call, since tokens change when it restarts
    timeout_s  for the whole answer, queue included
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key_file: Path | str = KEY_FILE,
        timeout_s: float = 600.0,
        transport: httpx.BaseTransport | None = None,
    ):
        self.url = url.rstrip("/")
        self.key_file = Path(key_file)
        self._http = httpx.Client(timeout=httpx.Timeout(timeout_s, connect=10.0), transport=transport, trust_env=False)

    def send(self, model: str, body: bytes, options: Mapping[str, str]) -> Answer:
        token = read_token(self.key_file)
        headers = {b"content-type": b"application/octet-stream"}
        headers |= {b"authorization": f"Bearer {token}".encode()} if token else {}
        headers |= {f"{HEADER_PREFIX}{name}".encode(): text.encode() for name, text in options.items()}
        try:
            response = self._http.post(f"{self.url}/predictions/{model}", content=body, headers=headers)
        except httpx.TimeoutException as error:
            raise refusals.timed_out() from error
        except httpx.TransportError as error:
            raise refusals.unreachable(self.url, error) from error
        answer = accept(Answer(response.content, _stage_seconds(response), response.headers.get(WARNING_HEADER, "")))
        if response.status_code != httpx.codes.OK:
            raise refusals.from_http(response.status_code, response.content)
        return answer

    def close(self) -> None:
        self._http.close()


def _stage_seconds(response: httpx.Response) -> dict[str, float]:
    """From the Server-Timing header (W3C), whose durations are in milliseconds."""
    entries = re.findall(r"(\w+);dur=([\d.]+)", response.headers.get("server-timing", ""))
    return {stage: float(milliseconds) / 1000 for stage, milliseconds in entries}
