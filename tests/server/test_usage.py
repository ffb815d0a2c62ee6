"""The lines that `calvaria serve` prints, pasted into a shell before a server that writes down what it is sent."""

import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from calvaria.server.server import Server
from calvaria.server.settings import CONFIG
from calvaria.server.usage import how_to_call

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Recorder(BaseHTTPRequestHandler):
    """Answers every upload with itself."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

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


def test_neither_token_nor_volume_goes_to_a_proxy(recorder, tmp_path, monkeypatch):
    server = standing(tmp_path, recorder.server_port)
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    pasted(server, tmp_path)
    assert recorder.seen == [("/predictions/completion", "Bearer secret")]
