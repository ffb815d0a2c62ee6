"""TLS over both transports, on a real server with two workers that share the cores."""

import subprocess
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from calvaria.client import NEVER, Client, GrpcClient
from calvaria.client.codec import Caller
from calvaria.cores import cores
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, encode
from calvaria.server.server import Server
from calvaria.server.usage import how_to_call
from calvaria.volume import BinaryVolume

pytestmark = pytest.mark.server

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((20, 22, 24)) < 0.3, (4.0, 4.0, 4.0))


def clients(server: Server, **trust: object) -> list[Caller]:
    shared = {"key_file": server.key_file, "timeout_s": 60, "retry": NEVER, **trust}
    url = server.settings.url("inference").replace("127.0.0.1", "localhost")
    return [Client(url, **shared), GrpcClient(server.settings.grpc_target, **shared)]


def refusal(client: Caller) -> CalvariaError:
    with client, pytest.raises(CalvariaError) as caught:
        client.predict("completion", VOLUME)
    return caught.value


def test_clients_that_trust_the_certificate_are_answered(secured, own_identity):
    answers = set()
    for client in clients(secured, ca_file=own_identity.certificate):
        with client:
            answers.add(client.request("completion", VOLUME, output="implant", smallest_mm3=0).body)
    assert len(answers) == 1
    assert decode(answers.pop()).volume.same_grid(VOLUME)


def test_a_certificate_of_another_is_not_trusted_and_the_remedy_is_said(secured, other_identity):
    strangers = clients(secured, ca_file=other_identity.certificate)
    http, grpc = clients(secured)
    with GrpcClient(grpc.target, key_file=secured.key_file, tls=True, retry=NEVER) as with_this_machines_list:
        errors = [refusal(client) for client in [*strangers, http, with_this_machines_list]]
    assert {error.code for error in errors} == {ErrorCode.UNAVAILABLE}
    assert all("ca_file" in error.message for error in errors), errors


def test_no_word_is_taken_that_is_not_encrypted(secured):
    _, grpc = clients(secured)
    with Client(secured.settings.url("inference").replace("https", "http"), key_file=secured.key_file, retry=NEVER) as http:
        for client in (http, grpc):
            assert refusal(client).code is ErrorCode.UNAVAILABLE
    management = secured.settings.url("management").replace("https", "http")
    assert httpx.get(f"{management}/models", trust_env=False).status_code == 403


def test_a_ca_file_that_is_none_is_refused_at_once(secured, tmp_path):
    (tmp_path / "no.pem").write_text("hello")
    for client in (Client, GrpcClient):
        for name, wrong in [("no.pem", "holds no certificate"), ("none.pem", "cannot be read")]:
            with pytest.raises(CalvariaError, match=wrong) as caught:
                client(ca_file=tmp_path / name)
            assert caught.value.code is ErrorCode.BAD_OPTION


def test_the_lines_that_serve_prints_work_with_tls(secured, tmp_path, monkeypatch):
    (tmp_path / "in.nrrd").write_bytes(encode(VOLUME, "nrrd"))
    monkeypatch.chdir(tmp_path)
    ready, shell, python, _ = how_to_call(secured).split("\n\n")
    assert f"Workers: 2 of completion; each computes with {max(1, cores() // 2)} of {cores()} cores." in ready
    subprocess.run(shell, shell=True, check=True, timeout=60)
    names: dict[str, BinaryVolume] = {}
    exec(python, names)
    np.testing.assert_array_equal(decode(Path("completion.nrrd").read_bytes()).volume.mask, names["answer"].mask)


def test_workers_share_the_cores(secured):
    workers = secured.management.workers()
    assert len(workers) == 2
    for worker in workers:
        environment = psutil.Process(worker.pid).environ()
        assert environment["OMP_NUM_THREADS"] == str(max(1, cores() // 2))
        assert environment["OMP_WAIT_POLICY"] == "passive"
    log = (secured.folder / "logs" / "model_log.log").read_text()
    assert log.count(f" {max(1, cores() // 2)} threads") >= 2, "each worker says how many it computes with"
