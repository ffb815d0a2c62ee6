"""The proxy of docs/security.md, in front of a real server, over both transports."""

import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from calvaria.client import NEVER, Client, GrpcClient
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.server import Server
from calvaria.volume import BinaryVolume

NGINX = shutil.which("nginx", path=f"/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:{sys.prefix}/bin")
pytestmark = [pytest.mark.server, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((20, 22, 24)) < 0.3, (4.0, 4.0, 4.0))


def configuration(folder: Path, server: Server, identity, port: int) -> str:
    """The documented block with this test's ports and files."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for documented, here in [
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/nginx/calvaria.pem", str(identity.certificate)),
        ("/etc/nginx/calvaria.key", str(identity.key)),
        ("http://127.0.0.1:8080", server.settings.url("inference")),
        ("127.0.0.1:7070", server.settings.grpc_target),
    ]:
        assert documented in block
        block = block.replace(documented, here)
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {places} {block} }}"


@pytest.fixture(scope="module")
def port(server: Server, own_identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("nginx")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(configuration(folder, server, own_identity, port))
    with subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE, text=True) as proxy:
        try:
            for _ in range(100):
                if socket.socket().connect_ex(("127.0.0.1", port)) == 0:
                    break
                assert proxy.poll() is None, proxy.stderr.read()
                time.sleep(0.05)
            yield port
        finally:
            proxy.terminate()


def test_answers_and_refusals_come_through(server, port, own_identity):
    shared = {"key_file": server.key_file, "timeout_s": 60, "retry": NEVER}
    with (
        Client(server.settings.url("inference"), **shared) as direct,
        Client(f"https://localhost:{port}", ca_file=own_identity.certificate, **shared) as http,
        GrpcClient(f"localhost:{port}", ca_file=own_identity.certificate, **shared) as grpc,
    ):
        expected = direct.request("completion", VOLUME, output="implant", smallest_mm3=0).body
        for client in (http, grpc):
            assert client.request("completion", VOLUME, output="implant", smallest_mm3=0).body == expected
            with pytest.raises(CalvariaError, match="The options for completion are") as caught:
                client.send("completion", b"x", {"colour": "red"})
            assert caught.value.code is ErrorCode.UNKNOWN_OPTION


def test_the_proxy_refuses_what_is_too_large_and_no_token_is_no_entry(server, port, own_identity, tmp_path):
    url, trust = f"https://localhost:{port}", {"ca_file": own_identity.certificate, "retry": NEVER}
    with Client(url, key_file=server.key_file, **trust) as client, pytest.raises(CalvariaError) as caught:
        client.send("completion", bytes(2**26 + 1), {})
    assert caught.value.code is ErrorCode.TOO_LARGE
    with Client(url, key_file=tmp_path / "none", **trust) as client, pytest.raises(CalvariaError) as caught:
        client.send("completion", b"x", {})
    assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_management_stays_inside(server, port, own_identity):
    trust = ssl.create_default_context(cafile=own_identity.certificate)
    for path in ("/models", "/metrics", "/"):
        assert httpx.get(f"https://localhost:{port}{path}", verify=trust, trust_env=False).status_code == 404
