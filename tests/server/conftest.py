"""A certificate to try TLS with, and clients that are strangers to no server of these tests."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


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
