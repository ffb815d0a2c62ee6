"""The whole service, through a real TorchServe with a model of random weights."""

import gzip
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from grpc import insecure_channel

import calvaria
from calvaria.client import NEVER, Busy, Client, GrpcClient, Retry
from calvaria.client.codec import Answer, Caller
from calvaria.client.grpc_client import METHOD
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.client.tokens import read_token
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, encode
from calvaria.server.server import Server
from calvaria.server.usage import how_to_call
from calvaria.serving.service import STAGES
from calvaria.volume import BinaryVolume

pytestmark = pytest.mark.server


def skull_like(shape: tuple[int, int, int], seed: int = 0) -> BinaryVolume:
    """A hollow ellipsoid with a hole, 4 mm voxels."""
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    radius = np.sqrt(sum(axis**2 for axis in axes))
    mask = (radius < 0.95) & (radius > 0.7)
    corner = np.random.default_rng(seed).integers(0, np.array(shape) // 2)
    mask[tuple(slice(i, i + n // 3) for i, n in zip(corner, shape, strict=True))] = False
    return BinaryVolume.on_grid(mask, (4.0, 4.0, 4.0), (-10, 20, 30))


def nrrd(sizes: str = "8 8 8", data: bytes = bytes(512), **fields: str | None) -> bytes:
    """NRRD bytes from a header that may lie. A field given as None is left out."""
    axes = len(sizes.split())
    header: dict[str, str | None] = {"type": "uint8", "dimension": str(axes), "sizes": sizes, "encoding": "raw"}
    if axes == 3:
        header |= {"space": "left-posterior-superior", "space directions": "(1,0,0) (0,1,0) (0,0,1)"}
    header |= {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}\n" for name, value in header.items() if value is not None]
    return ("NRRD0004\n" + "".join(lines) + "\n").encode() + data


SOME = (np.arange(512) % 3 == 0).astype(np.uint8).tobytes()
GOOD = encode(skull_like((24, 26, 28)), "nrrd")
BOMB = gzip.compress(bytes(2**28), 9)

BAD_INPUTS: dict[str, tuple[bytes, dict[str, str], ErrorCode]] = {
    "empty body": (b"", {}, ErrorCode.EMPTY_BODY),
    "not a volume": (b"hello", {}, ErrorCode.NOT_A_VOLUME),
    "JSON": (b'{"volume": 1}', {}, ErrorCode.NOT_A_VOLUME),
    "truncated NRRD": (GOOD[:-200], {}, ErrorCode.TRUNCATED),
    "truncated NIfTI": (encode(skull_like((24, 26, 28)), "nii.gz")[:-200], {}, ErrorCode.TRUNCATED),
    "header claims more voxels": (nrrd("8 8 9", SOME), {}, ErrorCode.TRUNCATED),
    "header claims wider voxels": (nrrd(data=SOME, type="uint16", endian="little"), {}, ErrorCode.TRUNCATED),
    "header claims fewer voxels": (nrrd("8 8 7", SOME), {}, ErrorCode.BAD_HEADER),
    "header of an unknown type": (nrrd(data=SOME, type="uint7"), {}, ErrorCode.BAD_HEADER),
    "2-D": (nrrd("16 32", SOME), {}, ErrorCode.WRONG_DIMENSION),
    "4-D": (nrrd("8 8 4 2", SOME), {}, ErrorCode.WRONG_DIMENSION),
    "zero spacing": (nrrd(data=SOME, space_directions="(1,0,0) (0,0,0) (0,0,1)"), {}, ErrorCode.BAD_GEOMETRY),
    "negative spacing": (nrrd(data=SOME, spacings="1 -1 1", space=None, space_directions=None), {}, ErrorCode.BAD_GEOMETRY),
    "an origin out of this world": (nrrd(data=SOME, space_origin="(1e308,0,0)"), {}, ErrorCode.BAD_GEOMETRY),
    "too many voxels": (nrrd("100000 100000 100000", b""), {}, ErrorCode.TOO_LARGE),
    "gzip bomb in a NRRD": (nrrd(data=BOMB, encoding="gzip"), {}, ErrorCode.BAD_HEADER),
    "gzip bomb": (BOMB, {}, ErrorCode.NOT_A_VOLUME),
    "all-zero": (nrrd(data=bytes(512)), {}, ErrorCode.EMPTY_MASK),
    "full": (nrrd(data=bytes([1]) * 512), {}, ErrorCode.FULL_MASK),
    "detached header": (nrrd(data=b"", data_file="/etc/passwd"), {}, ErrorCode.DETACHED_HEADER),
    "absent label": (GOOD, {"label": "7"}, ErrorCode.LABEL_ABSENT),
    "unknown option": (GOOD, {"colour": "red"}, ErrorCode.UNKNOWN_OPTION),
    "bad option": (GOOD, {"output": "nösé"}, ErrorCode.BAD_OPTION),
}


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[Client]:
    with Client(server.settings.url("inference"), key_file=server.key_file, timeout_s=120, retry=NEVER) as client:
        yield client


@pytest.fixture(scope="module")
def grpc(server: Server) -> Iterator[GrpcClient]:
    with GrpcClient(server.settings.grpc_target, key_file=server.key_file, timeout_s=120, retry=NEVER) as client:
        yield client


@pytest.fixture(autouse=True)
def same_worker(server: Server) -> Iterator[None]:
    """No test may cost the server its worker."""
    before = server.management.workers()
    yield
    assert server.management.workers() == before
    assert all(worker.ready for worker in before)


def outcome(client: Caller, body: bytes, options: dict[str, str]) -> bytes | tuple[ErrorCode, str]:
    try:
        return client.send("completion", body, options).body
    except CalvariaError as error:
        return error.code, error.message


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait, but not for ever: what was not so by then, an assertion afterwards says."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


def still(server: Server) -> dict[str, float]:
    """The samples when they no longer move: TorchServe reads what a worker measured a little after it has answered."""
    seen: list[dict[str, float]] = []

    def unmoved() -> bool:
        seen.append(counted(server))
        return len(seen) > 5 and all(each == seen[-1] for each in seen[-5:])

    until(unmoved)
    return seen[-1]


def counted(server: Server) -> dict[str, float]:
    """The metrics port's samples by name and those labels that tell them apart."""
    text = httpx.get(server.settings.url("metrics") + "/metrics", trust_env=False).text
    samples = re.findall(
        r"^(calvaria_\w+)\{(?:(?:Code|Stage|WorkerName)=\"([^\"]*)\",)?ModelName[^}]*?(le=[^}]*)?\} (\S+)$", text, re.MULTILINE
    )
    return {f"{name} {label}".strip(): float(value) for name, label, bucket, value in samples if not bucket}


def risen(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name)}


def bearer(server: Server, token: str | None = None) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {token or read_token(server.key_file)}".encode()}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused_alike_over_both_transports(name, server, http, grpc):
    body, options, code = BAD_INPUTS[name]
    over_http, over_grpc = outcome(http, body, options), outcome(grpc, body, options)
    assert over_http == over_grpc
    assert over_http[0] is code
    headers = bearer(server) | {f"X-CALVARIA-{key.upper()}".encode(): value.encode() for key, value in options.items()}
    response = httpx.put(f"{http.url}/predictions/completion", content=body, headers=headers, trust_env=False)  # as curl -T does
    assert (response.status_code, response.headers["content-type"]) == (int(code.status), "application/json")
    assert response.json() == {"error": {"code": code.value, "message": over_http[1], "status": int(code.status)}}


def test_good_requests_among_bad_ones_get_what_they_get_alone(server, http, grpc):
    good = [(encode(skull_like(shape, seed), "nrrd"), {}) for seed, shape in enumerate([(24, 26, 28), (40, 20, 16), (16, 33, 25)])]
    requests = [(body, options) for body, options, _ in BAD_INPUTS.values()] + good * 3
    alone = [outcome(http, *request) for request in requests]
    calls = [(client, *request) for request in requests for client in (http, grpc)]
    np.random.default_rng(0).shuffle(order := list(range(len(calls))))
    before = still(server)
    with ThreadPoolExecutor(12) as pool:
        futures = {i: pool.submit(outcome, *calls[i]) for i in order}
    for i, future in futures.items():
        assert future.result() == alone[i // 2]

    until(lambda: risen(before, counted(server)).get("calvaria_batch_size_sum") == len(calls))
    rise = risen(before, counted(server))
    codes = [code.value for _, _, code in BAD_INPUTS.values()] * 2 + ["ok"] * 2 * len(good * 3)
    for code in set(codes):
        assert rise[f"calvaria_requests_total {code}"] == codes.count(code)
    assert rise["calvaria_batch_size_sum"] == len(calls)
    assert rise["calvaria_batch_size_count"] < len(calls), "no two requests shared a batch, so this test saw nothing"
    for stage in ("network", "finish", "encode"):
        assert rise[f"calvaria_stage_seconds_count {stage}"] == codes.count("ok")
        assert rise[f"calvaria_stage_seconds_sum {stage}"] > 0
    decoded = [code for code in codes if code in ("ok", "empty-mask", "full-mask")]
    assert rise["calvaria_stage_seconds_count prepare"] == len(decoded)
    assert rise["calvaria_occupied_voxels_total"] == 2 * (3 * sum(decode(body).volume.occupied for body, _ in good) + 512)


def test_memory_is_shown(server):
    (worker,) = server.management.workers()

    def shown() -> list[float]:
        return [value for name, value in counted(server).items() if name.startswith("calvaria_worker_memory_bytes W-")]

    def resident() -> float:
        return pytest.approx(psutil.Process(worker.pid).memory_info().rss, rel=0.2)

    until(lambda: shown() == [resident()])
    assert shown() == [resident()]


@pytest.mark.parametrize("format", ["nrrd", "nii", "nii.gz"])
@pytest.mark.parametrize("output", ["completed", "implant"])
def test_the_answer_lies_on_the_inputs_grid(http, grpc, format, output):
    volume = skull_like((24, 26, 28))
    over_http = http.request("completion", encode(volume, format), output=output)
    over_grpc = grpc.request("completion", encode(volume, format), output=output)
    assert np.array_equal(over_http.volume.mask, over_grpc.volume.mask)
    assert decode(over_http.body).format == format
    assert over_http.volume.same_grid(volume)
    assert over_http.volume.occupied > 0
    assert (over_http.volume.mask & volume.mask).any() == (output == "completed")
    assert tuple(over_http.seconds) == STAGES


def test_what_was_assumed_is_said_over_http(http):
    vague = re.sub(rb"space origin:.*\n", b"", GOOD, count=1)
    assert "no origin" in http.request("completion", vague).warning
    assert "no origin" not in http.request("completion", GOOD).warning


def test_several_outputs_and_a_report_alike_over_both_transports(server, http, grpc):
    volume, outputs = skull_like((24, 26, 28)), ["implant", "completed"]
    alone = {output: http.predict("completion", volume, output=output, threshold=0.4) for output in outputs}
    got = [client.predict_several("completion", volume, outputs, threshold=0.4) for client in (http, grpc)]
    url, form = f"{http.url}/predictions/completion", {"output": "implant,completed", "threshold": "0.4", "format": "nrrd", "report": "1"}
    response = httpx.post(url, files={"volume": encode(volume, "nrrd")}, data=form, headers=bearer(server), timeout=60, trust_env=False)
    assert response.headers["content-type"] == "application/zip"
    for prediction in [*got, Answer(response.content).prediction]:
        for output in outputs:
            np.testing.assert_array_equal(prediction.volumes[output].mask, alone[output].mask)
        report = prediction.report
        assert (report.model, report.options["threshold"]) == (calvaria.__version__, 0.4)
        assert [len(digest) for digest in report.weights.values()] == [64]
        assert tuple(report.seconds) == STAGES
        assert report.occupied_out == {output: alone[output].occupied for output in outputs}


def test_an_option_of_another_task_is_refused_alike(http, grpc):
    refusals = {outcome(client, GOOD, {"factor": "2"}) for client in (http, grpc)}
    assert len(refusals) == 1
    assert "completion takes no option factor" in refusals.pop()[1]


def test_a_stream_of_one_answer_ends_nobody(server, grpc):
    """StreamPredictions is in TorchServe's own inference.proto, and whoever takes that may call it."""
    wanted = PredictionsRequest(model_name="completion", input={"volume": GOOD})
    with insecure_channel(server.settings.grpc_target) as channel:
        stream = channel.unary_stream(
            METHOD.replace("Predictions", "StreamPredictions"), PredictionsRequest.SerializeToString, PredictionResponse.FromString
        )
        authorization = [("authorization", f"Bearer {read_token(server.key_file)}")]
        answers = [answer.prediction for answer in stream(wanted, metadata=authorization, timeout=120)]
    assert answers == [grpc.request("completion", GOOD).body]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_full_queue_is_said_to_be_full_and_patience_gets_through(server, kind):
    """16 wait in the queue, and 8 at a time are worked on."""

    def client(retry: Retry) -> Caller:
        if kind == "http":
            return Client(server.settings.url("inference"), key_file=server.key_file, timeout_s=120, retry=retry)
        return GrpcClient(server.settings.grpc_target, key_file=server.key_file, timeout_s=120, retry=retry)

    def crowd(caller: Caller) -> list[bytes | CalvariaError]:
        def ask(_: int) -> bytes | CalvariaError:
            try:
                return caller.send("completion", GOOD, {"output": "implant"}).body
            except CalvariaError as error:
                return error

        with caller, ThreadPoolExecutor(80) as pool:
            return list(pool.map(ask, range(80)))

    at_once, patient = crowd(client(NEVER)), crowd(client(Retry(times=12, most_s=4.0)))
    answers = {answer for answer in at_once if isinstance(answer, bytes)}
    refused = [answer for answer in at_once if isinstance(answer, CalvariaError)]
    assert refused, "80 requests at once did not fill the queue, so this test saw nothing"
    assert all(isinstance(error, Busy) and "Try again" in error.message for error in refused)
    assert set(patient) == answers
    assert len(answers) == 1


def test_multipart_with_fields_or_json(server, http):
    expected = http.request("completion", GOOD, output="implant").body
    for fields in ({"output": "implant"}, {"options": '{"output": "implant"}'}):
        url = f"{http.url}/predictions/completion"
        response = httpx.post(url, files={"volume": GOOD}, data=fields, headers=bearer(server), timeout=60, trust_env=False)
        assert response.content == expected


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png"])
def test_a_wrong_content_type_does_no_harm(server, http, content_type):
    headers = bearer(server) | {b"content-type": content_type.encode()}
    response = httpx.post(f"{http.url}/predictions/completion", content=GOOD, headers=headers, timeout=60, trust_env=False)
    assert response.content == http.request("completion", GOOD).body


def test_what_torchserve_itself_refuses(server, http, grpc, tmp_path):
    key_file = tmp_path / "key_file.json"
    key_file.write_text('{"inference": {"key": "wrong"}}')
    strangers = [Client(http.url, key_file=key_file), GrpcClient(grpc.target, key_file=key_file)]
    nobodies = [Client(http.url, key_file=tmp_path / "none"), GrpcClient(grpc.target, key_file=tmp_path / "none")]
    for client in strangers + nobodies:
        with client:
            assert outcome(client, GOOD, {})[0] is ErrorCode.UNAUTHORIZED
    too_large = bytes(int(server.settings.values["max_request_size"]) + 1)
    for client in (http, grpc):
        assert outcome(client, too_large, {})[0] is ErrorCode.TOO_LARGE
        with pytest.raises(CalvariaError) as caught:
            client.predict("nose", GOOD)
        assert caught.value.code is ErrorCode.UNKNOWN_MODEL


def test_the_lines_that_serve_prints_work(server, http, tmp_path, monkeypatch):
    volume = skull_like((24, 26, 28))
    (tmp_path / "in.nrrd").write_bytes(encode(volume, "nrrd"))
    monkeypatch.chdir(tmp_path)
    _, shell, python, _ = how_to_call(server).split("\n\n")
    assert "-H @-" in shell, "the list of processes shows no token"
    subprocess.run(shell, shell=True, check=True, timeout=60)
    names: dict[str, BinaryVolume] = {}
    exec(python, names)
    expected = http.predict("completion", volume).mask
    np.testing.assert_array_equal(decode((tmp_path / "completion.nrrd").read_bytes()).volume.mask, expected)
    np.testing.assert_array_equal(names["answer"].mask, expected)
