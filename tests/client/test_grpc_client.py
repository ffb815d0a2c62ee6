import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import numpy as np
import pytest

from calvaria.client import NEVER, Busy, GrpcClient, Retry, Transfer
from calvaria.client.grpc_client import METHOD
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.serving.wire import encode_refusal
from calvaria.volume import BinaryVolume

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((4, 5, 6)) < 0.5, (1, 2, 3))
BODY = encode(VOLUME, "nrrd")
"""Made once: the same volume may be packed in more than one way."""


@pytest.fixture
def serve(tmp_path):
    """Starts a gRPC server whose one method is the given function (request, context) -> body, and a client of it."""
    stops = []
    (tmp_path / "key_file.json").write_text(json.dumps({"inference": {"key": "secret"}}))

    def start(answer, **client_options) -> GrpcClient:
        def respond(request, context):
            return PredictionResponse(prediction=answer(request, context))

        method = grpc.unary_unary_rpc_method_handler(respond, PredictionsRequest.FromString, PredictionResponse.SerializeToString)
        service, name = METHOD.strip("/").split("/")
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: method})])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = GrpcClient(f"127.0.0.1:{port}", key_file=tmp_path / "key_file.json", **{"retry": NEVER, **client_options})
        stops.extend([client.close, lambda: server.stop(0).wait()])
        return client

    yield start
    for stop in stops:
        stop()


def test_what_goes_over_the_wire(serve):
    def answer(request, context):
        assert request.model_name == "completion"
        assert dict(request.input) == {"volume": BODY, "output": b"implant", "format": b"nrrd", "label": b"2"}
        assert ("authorization", "Bearer secret") in context.invocation_metadata()
        return request.input["volume"]

    got = serve(answer).predict("completion", BODY, output="implant", label=2)
    np.testing.assert_array_equal(got.mask, VOLUME.mask)


def test_a_refusal_comes_with_status_ok(serve):
    refusal = CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty: send another.")
    with pytest.raises(CalvariaError) as caught:
        serve(lambda request, context: encode_refusal(refusal)).predict("completion", VOLUME)
    assert (caught.value.code, caught.value.message) == (refusal.code, refusal.message)


def test_an_answer_larger_than_grpcs_default_limit(serve):
    body = bytes(5 * 2**20)
    assert serve(lambda request, context: body).request("completion", b"x").body == body


@pytest.mark.parametrize(
    ("status", "details", "code"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed.", "unauthorized"),
        (grpc.StatusCode.INVALID_ARGUMENT, "?", "bad-option"),
        (grpc.StatusCode.INTERNAL, "Model not found: nose\n…ModelNotFoundException", "unknown-model"),
        (grpc.StatusCode.INTERNAL, 'Model "completion" has no worker to serve inference request', "unavailable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "gRPC message exceeds maximum size 67108864", "too-large"),
        (grpc.StatusCode.UNAVAILABLE, "Prediction failed", "unavailable"),
        (grpc.StatusCode.INTERNAL, "?", "internal"),
    ],
)
def test_torchserves_own_refusals_become_ours(serve, status, details, code):
    with pytest.raises(CalvariaError) as caught:
        serve(lambda request, context: context.abort(status, details)).predict("completion", VOLUME)
    assert caught.value.code.value == code


def a_proxy(listening: socket.socket, status: int) -> None:
    """Answers one call with a status of HTTP and nothing else, as nginx does for a server that is away or slow."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    settings, acknowledged, headers, ended = frame(4, 0, 0), frame(4, 1, 0), 1, 5
    with listening.accept()[0] as connection:
        connection.sendall(settings + acknowledged)
        received = b""
        while b"Predictions" not in received:
            received += connection.recv(2**16)
        connection.sendall(frame(headers, ended, 1, b"\x08\x03%d" % status))
        while connection.recv(2**16):
            pass


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (413, ErrorCode.TOO_LARGE, False),
        (403, ErrorCode.UNAVAILABLE, False),
        (502, ErrorCode.UNAVAILABLE, False),
        (503, ErrorCode.UNAVAILABLE, True),
        (504, ErrorCode.TIMEOUT, False),
    ],
)
def test_what_a_proxy_answers_is_what_it_is_over_http(status, code, again):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=a_proxy, args=(listening, status), daemon=True).start()
        target = f"127.0.0.1:{listening.getsockname()[1]}"
        with GrpcClient(target, token="t", retry=NEVER) as client, pytest.raises(CalvariaError, match=str(status)) as caught:
            client.predict("completion", VOLUME)
    assert caught.value.code is code
    assert isinstance(caught.value, Busy) == again


def test_no_answer(serve, tmp_path):
    def slow(request, context):
        time.sleep(0.5)
        return b""

    with pytest.raises(CalvariaError) as caught:
        serve(slow, timeout_s=0.1).predict("completion", VOLUME)
    assert caught.value.code is ErrorCode.TIMEOUT
    with GrpcClient("127.0.0.1:1", key_file=tmp_path / "none") as nobody, pytest.raises(CalvariaError, match="calvaria serve"):
        nobody.predict("completion", VOLUME)


def test_a_busy_server_is_asked_again_whichever_way_it_says_so(serve):
    asked, waits = [], []

    def answer(request, context):
        asked.append(dict(request.input))
        if len(asked) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "queue full")
        return encode_refusal(CalvariaError(ErrorCode.UNAVAILABLE, "crowded")) if len(asked) == 2 else request.input["volume"]

    client = serve(answer, retry=Retry(sleep=waits.append))
    assert client.predict("completion", BODY, smallest_mm3=0.5).same_grid(VOLUME)
    assert asked == [{"volume": BODY, "format": b"nrrd", "smallest_mm3": b"0.5"}] * 3
    assert len(waits) == 2


def test_no_server_is_not_a_busy_one(tmp_path):
    waits = []
    with GrpcClient("127.0.0.1:1", token="t", retry=Retry(sleep=waits.append)) as nobody, pytest.raises(CalvariaError) as caught:
        nobody.predict("completion", VOLUME)
    assert not isinstance(caught.value, Busy)
    assert waits == []


def test_a_name_that_nobody_knows_is_no_busy_server():
    waits = []
    with (
        GrpcClient("no.such.host.invalid:7070", token="t", retry=Retry(sleep=waits.append)) as nobody,
        pytest.raises(CalvariaError, match=r"No server answers at no\.such\.host\.invalid:7070") as caught,
    ):
        nobody.predict("completion", VOLUME)
    assert not isinstance(caught.value, Busy)
    assert waits == []


def test_an_address_of_http_is_refused_at_once():
    with pytest.raises(CalvariaError, match="host:port") as refused:
        GrpcClient("http://127.0.0.1:7070")
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_progress_is_told_before_and_after(serve):
    told = []
    serve(lambda request, context: b"PK").send("completion", b"1234", {}, told.append)
    assert told == [Transfer("sending", 0, 4), Transfer("sending", 4, 4), Transfer("receiving", 2, 2)]


def test_a_call_that_broke_off_is_not_sent_again(serve):
    asked, waits = [], []

    def answer(request, context):
        asked.append(request)
        context.abort(grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")

    with pytest.raises(CalvariaError, match="broke off") as caught:
        serve(answer, retry=Retry(sleep=waits.append)).predict("completion", VOLUME)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert (len(asked), waits) == (1, [])


@pytest.mark.slow
def test_a_server_that_was_away_is_looked_for_every_second():
    """By default, the time between two looks grows by 1.6 each."""
    looks = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            with suppress(OSError):  # the end
                while True:
                    listening.accept()[0].close()
                    looks.append(time.monotonic())

        threading.Thread(target=refuse, daemon=True).start()
        with GrpcClient(f"127.0.0.1:{listening.getsockname()[1]}", token="t", retry=NEVER) as client:
            end = time.monotonic() + 15
            while time.monotonic() < end:
                with pytest.raises(CalvariaError):
                    client.predict("completion", VOLUME)
                time.sleep(0.1)
        listening.shutdown(socket.SHUT_RDWR)
    assert max(np.diff(looks)) < 2.5
