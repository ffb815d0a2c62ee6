"""Certificates to try TLS with, and a server that has one."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from calvaria.server.server import Server
from calvaria.server.settings import CONFIG, ServerSettings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate for this machine, and its key; both PEM."""

    certificate: Path
    key: Path


def identity(folder: Path) -> Identity:
    """As docs/security.md makes one."""
    made = Identity(folder / "server.pem", folder / "server.key")
    names = ["-subj", "/CN=calvaria", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def own_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="session")
def other_identity(own_identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def secured(own_identity: Identity, model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks TLS over both transports, as docs/security.md sets it up, with two workers."""
    folder = tmp_path_factory.mktemp("secured")
    settings = ServerSettings.read(ROOT / CONFIG)
    with_tls = {
        "inference_address": "https://127.0.0.1:8443",
        "management_address": "https://127.0.0.1:8444",
        "enable_grpc_ssl": "true",
        "certificate_file": str(own_identity.certificate),
        "private_key_file": str(own_identity.key),
        "default_workers_per_model": "2",
        "metrics_config": str(ROOT / "metrics.yaml"),
        "vmargs": settings.elsewhere().values["vmargs"],
    }
    ServerSettings(folder, settings.values | with_tls).write(folder / "with-tls.properties")
    with Server.apart(folder / "server", folder / "with-tls.properties", model_store=str(model_store)) as server:
        yield server
