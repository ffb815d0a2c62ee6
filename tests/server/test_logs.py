"""What a real server logs: a line of JSON for each request under the id that its client was told, and of clients' words nothing."""

import json
import time
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from calvaria.client.grpc_client import METHOD
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.client.tokens import read_token
from calvaria.io import encode
from calvaria.server.server import Server
from calvaria.serving.service import STAGES
from calvaria.volume import BinaryVolume

pytestmark = pytest.mark.server

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((20, 22, 24)) < 0.3, (4.0, 4.0, 4.0))
GOOD = encode(VOLUME, "nrrd")
NAME = "JaneDoe1970"
FORGED = f'{NAME}\n{{"request": "forged"}}\r\n2026-01-01T00:00:00,000 [INFO ] forged'
"""What must not be in a log, and least of all as a line of its own."""


def logged(server: Server, name: str) -> list[str]:
    path = server.folder / "logs" / name
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def lines_of(server: Server, ids: list[str]) -> list[dict]:
    """The requests of these ids, as soon as all of them are there."""
    for _ in range(100):
        found = {each["request"]: each for each in map(json.loads, logged(server, "requests.jsonl"))}
        if found.keys() >= set(ids):
            return [found[each] for each in ids]
        time.sleep(0.1)
    raise AssertionError(f"not logged: {set(ids) - found.keys()}")


def post(server: Server, content: bytes, model: str = "completion", **more: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {read_token(server.key_file)}", **more.pop("headers", {})}
    url = f"{server.settings.url('inference')}/predictions/{model}"
    return httpx.post(url, content=content, headers=headers, timeout=60, trust_env=False, **more)


def test_every_request_is_logged_under_the_id_that_its_client_was_told(server):
    answers = [post(server, GOOD), post(server, b"hello"), post(server, GOOD, headers={"X-Calvaria-Colour": "red"})]
    lines = lines_of(server, [answer.headers["x-request-id"] for answer in answers])
    assert [line["code"] for line in lines] == ["ok", "not-a-volume", "unknown-option"]
    assert [line["status"] for line in lines] == [answer.status_code for answer in answers]
    assert [(line["bytes_in"], line["bytes_out"]) for line in lines] == [
        (sent, len(answer.content)) for sent, answer in zip([len(GOOD), 5, len(GOOD)], answers, strict=True)
    ]
    assert tuple(lines[0]["seconds"]) == STAGES
    assert lines[0]["occupied"] == VOLUME.occupied
    assert {line["model"] for line in lines} == {"completion"}


def hostile(server: Server) -> list[httpx.Response]:
    """A name in every place that a client may write in, but for the path of HTTP."""
    named = GOOD.replace(b"encoding: gzip", f"encoding: gzip\npatient:={NAME}\n# {NAME}\ncontent: {NAME}".encode(), 1)
    url, token = f"{server.settings.url('inference')}/predictions/completion", {"authorization": f"Bearer {read_token(server.key_file)}"}
    form = {"url": url, "headers": token, "timeout": 60, "trust_env": False}
    return [
        post(server, named),
        post(server, named.replace(b"gzip", f"gz{NAME}".encode(), 1)),
        post(server, f"NRRD0004\ntype: {FORGED}\n\n".encode()),
        post(server, f"NRRD0004\nspace: {NAME}\nspace: {NAME}\n\n".encode()),
        post(server, named[:-100]),
        post(server, named, headers={f"X-Calvaria-{NAME}": NAME, "User-Agent": NAME, "X-Request-Id": NAME, "Content-Type": f"text/{NAME}"}),
        post(server, named, headers={"X-Calvaria-Output": NAME}),
        httpx.post(files={"volume": (f"{NAME}.nrrd", named)}, **form),
        httpx.post(files={"volume": (f"{NAME}.nrrd", named)}, data={NAME: FORGED, "options": FORGED}, **form),
        httpx.post(files={NAME: (f"{NAME}.nrrd", named)}, **form),
    ]


def hostile_grpc(server: Server) -> None:
    with grpc.insecure_channel(server.settings.grpc_target) as channel:
        call = channel.unary_unary(METHOD, PredictionsRequest.SerializeToString, PredictionResponse.FromString)
        token = ("authorization", f"Bearer {read_token(server.key_file)}")
        named = {"volume": GOOD, NAME: FORGED.encode(), "output": FORGED.encode()}
        for model, metadata in [("completion", [token, ("patient", NAME)]), (FORGED, [token]), ("completion", [("authorization", NAME)])]:
            with suppress(grpc.RpcError):
                call(PredictionsRequest(model_name=model, input=named), timeout=60, metadata=metadata)


def test_of_clients_words_nothing_is_logged(server):
    answers = hostile(server)
    hostile_grpc(server)
    lines_of(server, [answer.headers["x-request-id"] for answer in answers])
    time.sleep(0.5)  # what is said of a request may come after its answer
    for path in sorted(Path(server.folder / "logs").iterdir()):
        found = [line for line in logged(server, path.name) if NAME in line]
        assert [line for line in found if "ModelNotFoundException" not in line and "Model not found" not in line] == [], path.name
        assert len([line for line in logged(server, path.name) if line.startswith(("{", "2026-01-01")) and "forged" in line]) == 0


def test_a_path_cannot_forge_a_line(server):
    """Paths are logged, as the server's access log must: percent-encoded, in one line each."""
    before = len(logged(server, "access_log.log"))
    answer = post(server, b"x", model=f"{NAME}%0d%0a2026-01-01 forged")
    assert answer.status_code == 404
    time.sleep(0.5)
    lines = logged(server, "access_log.log")[before:]
    assert not any(line.startswith("2026-01-01 forged") for line in lines)
    assert any(NAME in line and "404" in line for line in lines)
