"""The lines that `calvaria serve` prints, pasted into a shell before a server that writes down what it is sent."""

import json
import shlex
import shutil
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest

from calvaria.client import GrpcClient
from calvaria.client.grpc_client import METHOD
from calvaria.client.inference_pb2 import PredictionResponse, PredictionsRequest
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.server.server import Server
from calvaria.server.settings import CONFIG
from calvaria.server.usage import how_to_call
from calvaria.volume import BinaryVolume

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

ROOT = Path(__file__).resolve().parents[2]
VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((4, 5, 6)) < 0.5, (1, 2, 3))


class Recorder(BaseHTTPRequestHandler):
    """Answers every upload with itself."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def recorder() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as listening:
        listening.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def standing(folder: Path, port: int, **values: str) -> Server:
    """What is known of a server in a folder, with a key file and a model; nothing runs."""
    (folder / "store").mkdir(parents=True)
    with zipfile.ZipFile(folder / "store" / "completion.mar", "w"):
        pass
    settings = {"inference_address": f"http://127.0.0.1:{port}", "model_store": "store", **values}
    (folder / CONFIG).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "key_file.json").write_text(json.dumps({"inference": {"key": "secret"}}))
    return Server(folder)


def pasted(server: Server, where: Path) -> None:
    """Run the line for a shell."""
    (where / "in.nrrd").write_bytes(b"a volume")
    _, shell, _, _ = how_to_call(server).split("\n\n")
    subprocess.run(shell, shell=True, check=True, timeout=60, cwd=where)
    assert (where / "completion.nrrd").read_bytes() == b"a volume"


def test_documents_show_the_line_that_is_printed(tmp_path, monkeypatch):
    server = standing(tmp_path, 8080)
    monkeypatch.chdir(tmp_path)
    shell = how_to_call(server).split("\n\n")[1]
    assert shell in (ROOT / "README.md").read_text()
    assert shell.split(" -T ")[0] in (ROOT / "docs" / "requests.md").read_text()


@pytest.mark.parametrize("folder", ["here", "with a space", "quo'te"])
def test_lines_work_from_anywhere(recorder, tmp_path, monkeypatch, folder):
    server = standing(tmp_path / folder, recorder.server_port)
    for where in (tmp_path, tmp_path / folder):
        monkeypatch.chdir(where)
        pasted(server, where)
        names: dict[str, object] = {}
        exec(how_to_call(server).split("\n\n")[2].rpartition("\n")[0], names)
        assert names["client"].read_token() == "secret"
    assert how_to_call(server).endswith("Logs lie in logs; `calvaria stop` ends it.")
    monkeypatch.chdir(tmp_path)
    assert how_to_call(server).endswith(f"; `calvaria stop --folder {shlex.quote(folder)}` ends it.")


def test_without_tokens_none_is_asked_for(recorder, tmp_path, monkeypatch):
    server = standing(tmp_path, recorder.server_port, disable_token_authorization="true")
    server.key_file.unlink()
    monkeypatch.chdir(tmp_path)
    pasted(server, tmp_path)
    assert recorder.seen == [("/predictions/completion", None)]
    assert "key_file" not in how_to_call(server)
    with pytest.raises(CalvariaError, match="Tokens are switched off") as refused:
        server.management.renew("inference")
    assert refused.value.code is ErrorCode.BAD_OPTION


@pytest.fixture(params=["DNS:calvaria.hospital.example", "DNS:*.hospital.example", "IP:10.0.0.5"])
def name(request) -> str:
    """What a certificate is for."""
    return request.param


def called(name: str) -> str:
    return name.partition(":")[2].replace("*", "calvaria")


@pytest.fixture
def certified(name, tmp_path) -> tuple[Path, Path]:
    """A certificate as a hospital's authority signs one: for a name, without any address, and without the authority's own beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key, authority, its_key = (tmp_path / name for name in ("own.pem", "own.key", "authority.pem", "authority.key"))
    make = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-x509"]
    subprocess.run([*make, "-subj", "/CN=authority", "-keyout", its_key, "-out", authority], check=True, capture_output=True)
    signed = ["-CA", authority, "-CAkey", its_key, "-addext", "basicConstraints=critical,CA:FALSE"]
    names = ["-subj", "/CN=calvaria", "-addext", f"subjectAltName={name}"]
    subprocess.run([*make, *signed, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def test_a_certificate_for_another_name_than_this_machines_address_is_trusted_by_its_name(recorder, name, certified, tmp_path, monkeypatch):
    certificate, key = certified
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    recorder.socket = context.wrap_socket(recorder.socket, server_side=True)
    url = f"https://127.0.0.1:{recorder.server_port}"
    server = standing(tmp_path / "server", recorder.server_port, inference_address=url, certificate_file=str(certificate))
    assert server.name == called(name)
    monkeypatch.chdir(tmp_path)
    pasted(server, tmp_path)
    (tmp_path / "in.nrrd").write_bytes(encode(VOLUME, "nrrd"))
    names: dict[str, BinaryVolume] = {}
    exec(how_to_call(server).split("\n\n")[2], names)
    assert names["answer"].same_grid(VOLUME)


def test_over_grpc_likewise(name, certified, tmp_path):
    certificate, key = certified
    method = grpc.unary_unary_rpc_method_handler(
        lambda request, context: PredictionResponse(prediction=request.input["volume"]),
        PredictionsRequest.FromString,
        PredictionResponse.SerializeToString,
    )
    service, call = METHOD.strip("/").split("/")
    listening = grpc.server(ThreadPoolExecutor(1))
    listening.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {call: method})])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = listening.add_secure_port("127.0.0.1:0", credentials)
    listening.start()
    secured = {"grpc_inference_port": str(port), "enable_grpc_ssl": "true", "certificate_file": str(certificate)}
    server = standing(tmp_path / "server", 1, **secured)
    assert server.name == called(name)
    with GrpcClient(server.settings.grpc_target, token="secret", ca_file=certificate, name=server.name) as client:
        assert client.predict("completion", VOLUME).same_grid(VOLUME)
    listening.stop(0).wait()


def test_neither_token_nor_volume_goes_to_a_proxy(recorder, tmp_path, monkeypatch):
    server = standing(tmp_path, recorder.server_port)
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    pasted(server, tmp_path)
    assert recorder.seen == [("/predictions/completion", "Bearer secret")]
