import json
import time

import httpx
import numpy as np
import pytest

from calvaria.client import NEVER, Client, Retry, Transfer
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.serving.wire import encode_refusal
from calvaria.volume import BinaryVolume

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((4, 5, 6)) < 0.5, (1, 2, 3))
BODY = encode(VOLUME, "nrrd")
"""Made once: the same volume may be packed in more than one way."""


def client(answer, tmp_path, key: str | None = "secret", retry: Retry = NEVER) -> Client:
    if key:
        (tmp_path / "key_file.json").write_text(json.dumps({"inference": {"key": key}}))
    return Client("http://there:8080/", key_file=tmp_path / "key_file.json", transport=httpx.MockTransport(answer), retry=retry)


def torchserve(status: int, kind: str, message: str) -> httpx.Response:
    return httpx.Response(status, json={"code": status, "type": kind, "message": message})


def test_what_goes_over_the_wire(tmp_path):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        headers = {"Server-Timing": "decode;dur=1.500, network;dur=250.000", "X-Calvaria-Warning": "No origin."}
        return httpx.Response(200, content=encode(VOLUME, "nrrd"), headers=headers)

    with client(answer, tmp_path) as calls:
        got = calls.request("completion", BODY, output="implant", format="nrrd", label=2, smallest_mm3=0.5)
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", "http://there:8080/predictions/completion")
    assert request.content == BODY
    expected = {"authorization": "Bearer secret", "x-calvaria-output": "implant", "x-calvaria-format": "nrrd", "x-calvaria-label": "2"}
    expected |= {"x-calvaria-smallest-mm3": "0.5", "content-length": str(len(request.content))}
    assert expected.items() <= dict(request.headers).items()
    assert got.seconds == {"decode": 0.0015, "network": 0.25}
    assert got.warning == "No origin."
    np.testing.assert_array_equal(got.volume.mask, VOLUME.mask)


def test_without_a_key_file_no_token_is_sent_and_options_not_given_are_not_sent(tmp_path):
    def answer(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        assert [name for name in request.headers if name.startswith("x-calvaria-")] == ["x-calvaria-format"]
        return httpx.Response(200, content=encode(VOLUME, "nrrd"))

    assert client(answer, tmp_path, key=None).predict("completion", VOLUME).same_grid(VOLUME)


def test_a_token_may_end_in_a_new_line_and_one_that_cannot_be_sent_is_not_shown(tmp_path):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, content=encode(VOLUME, "nrrd"))

    client(answer, tmp_path, key="secret\n").predict("completion", VOLUME)
    assert seen == ["Bearer secret"]
    for key in ("sec\nret", "sécret"):
        with pytest.raises(CalvariaError) as refused:
            client(answer, tmp_path, key=key).predict("completion", VOLUME)
        assert refused.value.code is ErrorCode.UNAUTHORIZED
        assert "ret" not in refused.value.message.replace("characters", "")
    assert len(seen) == 1


def test_a_token_that_was_renewed_meanwhile_is_read_again(tmp_path):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        if seen[-1] == "Bearer new":
            return httpx.Response(200, content=BODY)
        (tmp_path / "key_file.json").write_text(json.dumps({"inference": {"key": "new"}}))
        return torchserve(400, "InvalidKeyException", "Token Authorization failed. Token either incorrect, expired")

    client(answer, tmp_path, key="old").predict("completion", VOLUME)
    assert seen == ["Bearer old", "Bearer new"]


def test_a_key_file_that_is_just_being_written_is_read_again(tmp_path, monkeypatch):
    calls = client(lambda request: httpx.Response(200, content=BODY), tmp_path)
    whole = (tmp_path / "key_file.json").read_text()
    (tmp_path / "key_file.json").write_text("")
    monkeypatch.setattr(time, "sleep", lambda seconds: (tmp_path / "key_file.json").write_text(whole))
    assert calls.predict("completion", VOLUME).same_grid(VOLUME)


@pytest.mark.parametrize("model", ["completion?x=1", "a\nb", "../metrics"])
def test_a_models_name_is_a_name_and_no_address(tmp_path, model):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return torchserve(404, "ModelNotFoundException", "Model not found")

    with pytest.raises(CalvariaError) as refused:
        client(answer, tmp_path).predict(model, VOLUME)
    assert refused.value.code is ErrorCode.UNKNOWN_MODEL
    assert seen[0].path == f"/predictions/{model}"
    assert not seen[0].query


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_what_names_no_model_is_not_sent(tmp_path, model):
    with pytest.raises(CalvariaError, match="no model's name") as refused:
        client(lambda request: pytest.fail("sent"), tmp_path).predict(model, VOLUME)
    assert refused.value.code is ErrorCode.UNKNOWN_MODEL


def test_a_path_is_sent_as_it_lies(tmp_path):
    path = tmp_path / "in.nii.gz"
    path.write_bytes(encode(VOLUME, "nii.gz"))
    with client(lambda request: httpx.Response(200, content=request.content), tmp_path) as calls:
        assert calls.request("completion", path).body == path.read_bytes()
        assert calls.request("completion", str(path)).body == path.read_bytes()


def test_our_refusal_keeps_its_code_and_sentence(tmp_path):
    refusal = CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty: send another.")
    calls = client(lambda request: httpx.Response(422, content=encode_refusal(refusal)), tmp_path)
    with pytest.raises(CalvariaError) as caught:
        calls.predict("completion", VOLUME)
    assert (caught.value.code, caught.value.message) == (refusal.code, refusal.message)


@pytest.mark.parametrize(
    ("response", "code", "advice"),
    [
        (torchserve(400, "InvalidKeyException", "Token Authorization failed. Token either incorrect, expired"), "unauthorized", "key_file"),
        (torchserve(400, "BadRequestException", "Bad multipart"), "bad-option", "cannot read the request.*Bad multipart"),
        (torchserve(401, "InvalidKeyException", "Token Authorization failed."), "unauthorized", "key_file"),
        (torchserve(404, "ModelNotFoundException", "Model not found: nose"), "unknown-model", "nose"),
        (httpx.Response(413), "too-large", "max_request_size"),
        (torchserve(503, "ServiceUnavailableException", 'Model "completion" has no worker to serve'), "unavailable", "Try again"),
        (torchserve(500, "InternalServerException", "Worker died."), "unavailable", "Try again"),
        (torchserve(507, "InternalServerException", "Out of resources"), "out-of-memory", "smaller"),
        (torchserve(507, "OutOfMemoryError", "Cannot reserve 65536 bytes of direct buffer memory"), "unavailable", "Try again"),
        (torchserve(500, "Throwable", "?"), "internal", "log"),
        (httpx.Response(502, text="<html>proxy</html>"), "unavailable", "proxy before the server"),
        (httpx.Response(308, headers={"location": "https://x/predictions/completion"}), "unavailable", "redirects to https://x: give"),
        (httpx.Response(403, text="<html>403 Forbidden</html>"), "unavailable", "proxy before the server refused"),
        (httpx.Response(407, text="Proxy Authentication Required"), "unavailable", "proxy before the server refused"),
        (httpx.Response(200, html="<html>Please log in</html>"), "unavailable", "no Calvaria is at this address"),
        (httpx.Response(200, json={"status": "ok"}), "unavailable", "no Calvaria is at this address"),
        (httpx.Response(200, content=b""), "unavailable", "no Calvaria is at this address"),
    ],
)
def test_torchserves_own_refusals_become_ours_with_advice(tmp_path, response, code, advice):
    with pytest.raises(CalvariaError, match=advice) as caught:
        client(lambda request: response, tmp_path).predict("completion", VOLUME)
    assert caught.value.code.value == code


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_proxy_that_is_busy_is_asked_again(tmp_path, status):
    answers = iter([httpx.Response(status, text="later"), httpx.Response(200, content=BODY)])
    waits = []
    calls = client(lambda request: next(answers), tmp_path, retry=Retry(sleep=waits.append))
    assert calls.predict("completion", VOLUME).same_grid(VOLUME)
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (httpx.ReadTimeout("slow"), ErrorCode.TIMEOUT, "longer timeout"),
        (httpx.ConnectError("refused"), ErrorCode.UNAVAILABLE, "Start one"),
        (httpx.ConnectTimeout("timed out"), ErrorCode.UNAVAILABLE, "No server answers"),
        (httpx.WriteError("Connection reset by peer"), ErrorCode.UNAVAILABLE, "broke off"),
        (httpx.DecodingError("not a gzip file"), ErrorCode.UNAVAILABLE, "broke off"),
    ],
)
def test_no_answer(tmp_path, error, code, words):
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(CalvariaError) as caught:
        client(answer, tmp_path).predict("completion", VOLUME)
    assert caught.value.code is code
    assert words in caught.value.message


def test_a_broken_key_file_is_named(tmp_path):
    (tmp_path / "key_file.json").write_text("{")
    with pytest.raises(CalvariaError, match=r"key_file\.json") as caught:
        client(lambda request: httpx.Response(200), tmp_path, key=None).predict("completion", VOLUME)
    assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_a_busy_server_is_asked_again_with_the_same_request(tmp_path):
    seen, waits = [], []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.content, request.headers["x-calvaria-output"]))
        busy = [encode_refusal(CalvariaError(ErrorCode.UNAVAILABLE, "crowded")), b"not ours"]
        return httpx.Response(503, content=busy[len(seen) - 1]) if len(seen) < 3 else httpx.Response(200, content=request.content)

    calls = client(answer, tmp_path, retry=Retry(sleep=waits.append))
    for progress in (None, lambda progress: None):
        assert calls.request("completion", BODY, output="implant", progress=progress).volume.same_grid(VOLUME)
        assert seen == [(BODY, "implant")] * 3
        assert len(waits) == 2
        seen.clear()
        waits.clear()


def test_progress_counts_the_bytes_of_both_ways(tmp_path):
    body, told = bytes(600_000), []
    answer = httpx.Response(200, content=iter([b"PKx" * 1000, b"y" * 500]), headers={"content-length": "3500"})
    with client(lambda request: answer if len(request.content) == len(body) else httpx.Response(500), tmp_path) as calls:
        assert len(calls.send("completion", body, {}, told.append).body) == 3500
    sent = [progress for progress in told if progress.stage == "sending"]
    received = told[len(sent) :]
    assert [progress.done for progress in sent] == [0, 262_144, 524_288, 600_000]
    assert {progress.total for progress in sent} == {600_000}
    assert received == [Transfer("receiving", 3000, 3500), Transfer("receiving", 3500, 3500)]


def test_the_nearest_key_file_is_found_and_read_anew_and_a_token_beats_it(tmp_path, monkeypatch):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, content=request.content)

    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with Client("http://there", transport=httpx.MockTransport(answer)) as calls:
        for folder, key in ((tmp_path, "far"), (tmp_path / "a", "near"), (tmp_path / "a", "newer")):
            (folder / "key_file.json").write_text(json.dumps({"inference": {"key": key}}))
            calls.request("completion", VOLUME)
    with Client("http://there", token="mine", transport=httpx.MockTransport(answer)) as calls:
        calls.request("completion", VOLUME)
    assert seen == ["Bearer far", "Bearer near", "Bearer newer", "Bearer mine"]


def test_what_a_proxy_could_not_pass_on_is_not_sent_again(tmp_path):
    seen = []
    with pytest.raises(CalvariaError):
        client(lambda request: seen.append(request) or httpx.Response(502), tmp_path, retry=Retry()).predict("completion", VOLUME)
    assert len(seen) == 1


def test_an_answer_that_trickles_in_ends_with_the_time_for_all_of_it(tmp_path):
    def trickle():
        for _ in range(100):
            time.sleep(0.05)
            yield b"y"

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=trickle()))
    with Client("http://there", token="t", transport=transport, timeout_s=0.2) as calls, pytest.raises(CalvariaError) as caught:
        calls.request("completion", VOLUME)
    assert caught.value.code is ErrorCode.TIMEOUT


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_limit_is_a_number_above_zero(seconds):
    with pytest.raises(CalvariaError, match="timeout_s must be"):
        Client("http://there", timeout_s=seconds)


def test_there_may_be_no_time_limit(tmp_path):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=request.content))
    with Client("http://there", token="t", transport=transport, timeout_s=float("inf")) as calls:
        assert calls.predict("completion", BODY).same_grid(VOLUME)


@pytest.mark.parametrize("url", ["there:8080", "http://", "http://[::1", "ftp://there"])
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(CalvariaError, match="An address is http") as caught:
        Client(url)
    assert caught.value.code is ErrorCode.BAD_OPTION


def test_blanks_around_an_option_are_not_sent(tmp_path):
    seen = []
    answer = client(lambda request: seen.append(request) or httpx.Response(200, content=request.content), tmp_path)
    answer.request("completion", BODY, output=" implant ")
    assert seen[0].headers["x-calvaria-output"] == "implant"
