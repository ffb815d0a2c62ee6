"""One request over either transport, and what is noted of it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.serving.wire import encode_refusal, pack
from loadtest.client import GrpcSender, HttpSender, Outcome, Sender
from loadtest.workload import Item
from tests.loadtest.fake_server import FakeServer, Reply

ITEM = Item("64", 0, b"body", {"output": "implant"})
REFUSAL = encode_refusal(CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty."))
SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"


def sent(make: Callable[..., Sender], *arguments: object) -> Outcome:
    async def once() -> Outcome:
        async with make(*arguments) as sender:
            return await sender.send("completion", ITEM)

    return asyncio.run(once())


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def grpc_server(answer: Callable[[PredictionsRequest, grpc.ServicerContext], PredictionResponse]) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(answer, PredictionsRequest.FromString, PredictionResponse.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Predictions": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("body", [b"PK\3\4 cut off", pack({"another": b""}), pack({"report.json": b"{}"})])
def test_an_answer_whose_report_cannot_be_read_has_no_times(body):
    assert Outcome("OK", "ok", body).stages_s() == {}


def test_what_goes_over_http():
    with FakeServer(lambda body: Reply(body=body[::-1])).running() as server:
        outcome = sent(HttpSender, server.url + "/", "secret", 10)
    assert (outcome.status, outcome.code, outcome.body) == ("200", "ok", b"ydob")
    assert outcome.stages_s() == {"decode": 0.0015, "network": 0.25}
    assert server.paths == ["/predictions/completion"]
    assert server.headers[0].items() >= {"authorization": "Bearer secret", "x-calvaria-output": "implant"}.items()


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(422, REFUSAL), "422", "empty-mask"),
        (Reply(413, b""), "413", "too-large"),
        (Reply(503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "full"}'), "503", "unavailable"),
        (Reply(500, b"?"), "500", "internal"),
        (Reply(delay_s=1.0), "Timeout", "timeout"),
    ],
)
def test_what_is_noted_of_a_failure_over_http(reply, status, code):
    with FakeServer(lambda body: reply).running() as server:
        outcome = sent(HttpSender, server.url, None, 0.4)
    assert (outcome.status, outcome.code) == (status, code)
    assert "authorization" not in server.headers[0]


def test_nobody_there():
    port = closed_port()
    over_http, over_grpc = sent(HttpSender, f"http://127.0.0.1:{port}", None, 5), sent(GrpcSender, f"127.0.0.1:{port}", None, 5)
    assert (over_http.status, over_http.code) == ("ConnectError", "unavailable")
    assert (over_grpc.status, over_grpc.code) == ("UNAVAILABLE", "unavailable")


def test_what_goes_over_grpc():
    seen = []

    def answer(request: PredictionsRequest, context: grpc.ServicerContext) -> PredictionResponse:
        seen.append((request.model_name, dict(request.input), dict(context.invocation_metadata())["authorization"]))
        return PredictionResponse(prediction=b"v" * 5_000_000)

    with grpc_server(answer) as target:
        outcome = sent(GrpcSender, target, "secret", 10)
    assert (outcome.status, outcome.code, len(outcome.body)) == ("OK", "ok", 5_000_000)
    assert seen == [("completion", {"volume": b"body", "output": b"implant"}, "Bearer secret")]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "unauthorized"),
        (grpc.StatusCode.UNAVAILABLE, "unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
    ],
)
def test_what_is_noted_of_a_failure_over_grpc(status, code):
    with grpc_server(lambda request, context: context.abort(status, "no")) as target:
        outcome = sent(GrpcSender, target, None, 10)
    assert (outcome.status, outcome.code) == (status.name, code)


def test_a_refusal_over_grpc_is_told_by_its_body():
    with grpc_server(lambda request, context: PredictionResponse(prediction=REFUSAL)) as target:
        outcome = sent(GrpcSender, target, None, 10)
    assert (outcome.status, outcome.code) == ("OK", "empty-mask")


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_nobody_to_connect_to(kind, monkeypatch):
    monkeypatch.setattr("loadtest.client.CONNECT_TIMEOUT_S", 0.3)
    port = closed_port()

    async def connect() -> None:
        async with (
            HttpSender(f"http://127.0.0.1:{port}", None, 5) if kind == "http" else GrpcSender(f"127.0.0.1:{port}", None, 5) as sender
        ):
            await sender.connect()

    with pytest.raises(CalvariaError, match=str(port)) as caught:
        asyncio.run(connect())
    assert caught.value.code is ErrorCode.UNAVAILABLE
