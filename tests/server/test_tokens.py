"""A token's life: missing, wrong, ended, renewed. Without a model, so that the server is there at once."""

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from calvaria.client import NEVER, Client, GrpcClient
from calvaria.client.codec import Caller
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.server import Server
from calvaria.server.settings import why_closed

pytestmark = pytest.mark.server

CONFIG = Path(__file__).resolve().parents[2] / "config.properties"
LIFE_S = 6.0
MODELS_OF_NOBODY = ""


@pytest.fixture(scope="module")
def brief(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tokens end soon, and which has no model."""
    settings = {"token_expiration_min": str(LIFE_S / 60), "load_models": MODELS_OF_NOBODY}
    server = Server.apart(tmp_path_factory.mktemp("brief"), CONFIG, model_store=str(model_store), **settings)
    try:
        server._launch()
        deadline = time.monotonic() + 60
        while not all(map(why_closed, server.settings.ports)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield server
    finally:
        server.stop()


def callers(server: Server, **options: object) -> list[Callable[[], Caller]]:
    return [
        lambda: Client(server.settings.url("inference"), retry=NEVER, **options),
        lambda: GrpcClient(server.settings.grpc_target, retry=NEVER, **options),
    ]


def code(caller: Caller) -> ErrorCode:
    with caller, pytest.raises(CalvariaError) as caught:
        caller.send("completion", b"x", {})
    if caught.value.code is ErrorCode.UNAUTHORIZED:
        assert "key_file.json" in caught.value.message
    return caught.value.code


def test_a_token_is_asked_for_ends_and_can_be_renewed(brief: Server, tmp_path: Path) -> None:
    """Whoever is let in is told that there is no such model."""
    for options in ({"key_file": tmp_path / "none"}, {"token": "wrong"}, {"token": "Bearer"}):
        assert [code(make()) for make in callers(brief, **options)] == [ErrorCode.UNAUTHORIZED] * 2
    brief.management.renew("inference")
    entitled = callers(brief, key_file=brief.key_file)
    assert [code(make()) for make in entitled] == [ErrorCode.UNKNOWN_MODEL] * 2
    old = json.loads(brief.key_file.read_text())["inference"]["key"]
    time.sleep(LIFE_S)
    assert [code(make()) for make in entitled] == [ErrorCode.UNAUTHORIZED] * 2
    brief.management.renew("inference")
    assert [code(make()) for make in entitled] == [ErrorCode.UNKNOWN_MODEL] * 2
    assert [code(make()) for make in callers(brief, token=old)] == [ErrorCode.UNAUTHORIZED] * 2


def test_what_the_server_writes_is_its_users_alone_from_the_first_moment(brief: Server) -> None:
    """TorchServe closes the key file itself, but late: what it writes otherwise shows how each file begins."""
    logs = list((brief.folder / "logs").iterdir())
    assert logs
    assert {stat.S_IMODE(path.stat().st_mode) for path in (brief.key_file, *logs)} == {0o600}


def test_what_cleans_up_temporary_files_leaves_those_of_a_server(brief: Server) -> None:
    """As systemd-tmpfiles does, which passes over a folder that it cannot lock."""
    folder = os.open(brief._processes.scratch or "", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(folder)


def test_models_cannot_be_managed_over_the_network(brief: Server) -> None:
    brief.management.renew("management")
    key = json.loads(brief.key_file.read_text())["management"]["key"]
    url, headers = f"{brief.settings.url('management')}/models", {"Authorization": f"Bearer {key}"}
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    for answer in (
        httpx.post(url, params={"url": "https://example.org/stranger.mar"}, headers=headers, trust_env=False),
        httpx.post(url, params={"url": "completion.mar"}, headers=headers, trust_env=False),
        httpx.delete(f"{url}/completion", headers=headers, trust_env=False),
    ):
        assert answer.status_code == 405, answer.text
