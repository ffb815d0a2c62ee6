"""Sending one request and noting what became of it. Nothing is tried twice and nothing waits for a free connection."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import httpx

from calvaria.client import Answer, refusals
from calvaria.client.grpc_client import METHOD, OPTIONS
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.client.trust import known_as, named, pem, trust
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.serving.wire import TIMING_HEADER, VOLUME_PART, decode_refusal, header_of, stage_seconds
from loadtest.workload import OK, Item

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of a request; see Request for the fields' meaning. `timing`: HTTP's header Server-Timing."""

    status: str
    code: str
    body: bytes = b""
    timing: str = ""

    def stages_s(self) -> dict[str, float]:
        """The server's times by stage, from the header or else from a report that came along whole; reading that takes time itself."""
        if self.timing:
            return stage_seconds(self.timing)
        with suppress(CalvariaError, KeyError, ValueError):  # a ZIP that is cut off, or another's
            report = Answer(self.body).report if self.code == OK else None
            return dict(report.seconds) if report else {}
        return {}


class Sender(ABC):
    """One transport to one server. As a context manager it is closed at the end."""

    @abstractmethod
    async def send(self, model: str, item: Item) -> Outcome:
        """Send a request once. Raises for no failure of the server's or on the way there."""

    @abstractmethod
    async def connect(self) -> None:
        """Open a first connection, so that no request pays for it; CalvariaError UNAVAILABLE if nobody answers."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connections."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class HttpSender(Sender):
    """Over HTTP, with as many kept connections as there are requests at once.

    url        of the server's inference address
    token      for it, or None where it asks for none
    timeout_s  for the whole answer
    ca_file    to trust the server by, if it speaks TLS
    name       that its certificate has, where the address says another
    """

    def __init__(self, url: str, token: str | None, timeout_s: float, ca_file: Path | None = None, name: str | None = None):
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._headers = {"content-type": "application/octet-stream"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._tls, self._extensions = trust(ca_file), known_as(name)
        self._connections: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []

    async def send(self, model: str, item: Item) -> Outcome:
        headers = {header_of(name): text for name, text in item.options.items()}
        http = self._idle.pop() if self._idle else self._connection()
        try:
            async with asyncio.timeout(self.timeout_s):
                url = f"{self.url}/predictions/{model}"
                response = await http.post(url, content=item.body, headers=headers, extensions=self._extensions)
        except TimeoutError:
            return Outcome("Timeout", ErrorCode.TIMEOUT.value)
        except (httpx.HTTPError, OSError) as error:
            return Outcome(type(error).__name__, ErrorCode.UNAVAILABLE.value)
        finally:
            self._idle.append(http)
        return Outcome(str(response.status_code), _http_code(response), response.content, response.headers.get(TIMING_HEADER, ""))

    async def connect(self) -> None:
        http = self._connection()
        try:
            await http.get(f"{self.url}/ping", timeout=CONNECT_TIMEOUT_S, extensions=self._extensions)
        except httpx.HTTPError as error:
            raise refusals.unreachable(self.url, error) from error
        self._idle.append(http)

    def _connection(self) -> httpx.AsyncClient:
        """One client per connection: to choose one of n connections, httpx's own pool looks at all others for each, n² in all."""
        http = httpx.AsyncClient(headers=self._headers, timeout=None, verify=self._tls, trust_env=False)
        self._connections.append(http)
        return http

    async def close(self) -> None:
        for http in self._connections:
            await http.aclose()


class GrpcSender(Sender):
    """Over gRPC, all requests on one connection; made where an event loop runs. `target` is its host:port; see HttpSender for the rest."""

    def __init__(self, target: str, token: str | None, timeout_s: float, ca_file: Path | None = None, name: str | None = None):
        self.target = target
        self.timeout_s = timeout_s
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        trusted, options = grpc.ssl_channel_credentials(pem(ca_file)) if ca_file else None, OPTIONS + named(name)
        self._channel = grpc.aio.secure_channel(target, trusted, options) if trusted else grpc.aio.insecure_channel(target, options)
        self._predictions = self._channel.unary_unary(METHOD, PredictionsRequest.SerializeToString, PredictionResponse.FromString)

    async def send(self, model: str, item: Item) -> Outcome:
        parts = {VOLUME_PART: item.body} | {name: text.encode() for name, text in item.options.items()}
        request = PredictionsRequest(model_name=model, input=parts)
        try:
            response = await self._predictions(request, timeout=self.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return Outcome(error.code().name, refusals.from_grpc(error.code(), error.details() or "").code.value)
        refusal = decode_refusal(response.prediction)
        return Outcome(grpc.StatusCode.OK.name, refusal.code.value if refusal else OK, response.prediction)

    async def connect(self) -> None:
        try:
            await asyncio.wait_for(self._channel.channel_ready(), CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise refusals.unreachable(self.target, "timeout") from error

    async def close(self) -> None:
        await self._channel.close()


def _http_code(response: httpx.Response) -> str:
    refusal = decode_refusal(response.content) or refusals.from_http(response.status_code, response.headers, response.content)
    return refusal.code.value if refusal else OK
