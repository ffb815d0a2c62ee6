"""Starting and stopping a real TorchServe, and what happens when that goes wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

import calvaria
from calvaria.cli import app
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.processes import Processes
from calvaria.server.server import Server

pytestmark = pytest.mark.server

CONFIG = Path(__file__).resolve().parents[2] / "config.properties"


def refusal(server: Server) -> str:
    with pytest.raises(CalvariaError) as caught:
        server.start(timeout_s=60)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert not server.running
    return caught.value.message


def processes_of(server: Server) -> list[psutil.Process]:
    return Processes(server.folder / ".run" / "temporary-folder").living()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_serve_status_and_stop_from_the_command_line(model_store, tmp_path):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    folder = ["--folder", str(tmp_path)]
    run = CliRunner().invoke
    assert run(app, ["status", *folder]).exit_code == 1
    served = run(app, ["serve", *folder])
    assert served.exit_code == 0, served.output
    assert "Ready at http://127.0.0.1:" in served.output
    try:
        status = run(app, ["status", *folder])
        assert (status.exit_code, "completion: worker" in status.output) == (0, True)
        with pytest.raises(CalvariaError, match="already runs"):
            server.start()
        processes = processes_of(server)
        assert len(processes) >= 3, "torchserve, Java and a worker"
    finally:
        stopped = run(app, ["stop", *folder])
    assert "has stopped" in stopped.output
    assert all(is_gone(process) for process in processes)
    assert not server.key_file.exists()
    assert "No server was running" in run(app, ["stop", *folder]).output


def test_of_two_that_start_at_once_one_is_refused_and_the_other_serves(model_store, tmp_path):
    server, other = Server.apart(tmp_path, CONFIG, model_store=str(model_store)), Server(tmp_path)
    other._check_startable()  # nothing stands in its way yet
    with server:
        with pytest.raises(CalvariaError, match="at this moment"):
            other._claim()
        assert not other._processes.ours
        assert not server.management.unable(server.management.workers())
        assert server.key_file.is_file()


def test_what_a_killed_server_left_is_no_other_server(model_store, tmp_path):
    note = tmp_path / ".run" / "temporary-folder"
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    note.parent.mkdir()
    Path(Processes(note).mark()).rmdir()
    with pytest.raises(CalvariaError, match="at this moment"):
        server.start()
    os.utime(note, (0, 0))
    with server:
        assert not server.management.unable(server.management.workers())


def test_of_many_that_claim_a_folder_at_once_one_gets_it_whatever_lay_there(tmp_path):
    note = tmp_path / "note"
    for left in (None, "", str(tmp_path / "gone")):
        note.unlink(missing_ok=True)
        if left is not None:
            note.write_text(left)
            os.utime(note, (0, 0))
        starters = [Processes(note) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            claims = [pool.submit(each.mark) for each in starters]
        assert sum(claim.exception() is None for claim in claims) == 1
        assert [each.ours for each in starters] == [claim.exception() is None for claim in claims]
        assert Path(starters[0].scratch or "").is_dir()
        starters[0].end()


def test_status_and_a_command_renew_tokens_that_have_ended(model_store, tmp_path):
    with Server.apart(tmp_path, CONFIG, model_store=str(model_store)) as server:
        first = json.loads(server.key_file.read_text())
        server.key_file.write_text(json.dumps(first | {"management": {"key": "ended"}}))
        status = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
        seen = json.loads(server.key_file.read_text())
        renewed = CliRunner().invoke(app, ["renew", "--folder", str(tmp_path)])
        last = json.loads(server.key_file.read_text())
        assert not server.management.unable(server.management.workers())
    assert status.exit_code == renewed.exit_code == 0, status.output + renewed.output
    assert seen["management"]["key"] not in ("ended", first["management"]["key"])
    assert seen["inference"]["key"] == first["inference"]["key"] != last["inference"]["key"]
    with pytest.raises(CalvariaError, match="calvaria serve"):
        server.management.renew("inference")


def test_tokens_that_are_not_the_servers_own_are_told_from_a_server_that_starts(model_store, tmp_path):
    with Server.apart(tmp_path, CONFIG, model_store=str(model_store)) as server:
        own = server.key_file.read_text()
        server.key_file.write_text(json.dumps({kind: {"key": "another's"} for kind in ("inference", "management", "API")}))
        status = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
        with pytest.raises(CalvariaError, match="gives no new token") as refused:
            server.management.renew("inference")
        server.key_file.write_text(own)
        with ThreadPoolExecutor(4) as pool:
            server.key_file.write_text(json.dumps(json.loads(own) | {"management": {"key": "ended"}}))
            assert all(pool.map(lambda _: not server.management.unable(server.management.workers()), range(4)))
    assert (status.exit_code, refused.value.code) == (1, ErrorCode.UNAUTHORIZED)
    assert "refuses the tokens" in status.output


def test_stop_ends_java_even_if_its_launcher_was_killed(model_store, tmp_path):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    server.start()
    processes = processes_of(server)
    launcher = next(process for process in processes if "ts.model_server" in process.cmdline())
    launcher.send_signal(signal.SIGKILL)
    launcher.wait(10)
    assert server.running
    assert server.stop()
    assert all(is_gone(process) for process in processes)


@pytest.mark.parametrize("living", [0, 1, 2, 3])
def test_terminated_while_starting_nothing_is_left(model_store, tmp_path, living):
    """When nothing runs yet, or the launcher, Java, or the worker has just come: an event, since machines differ in speed."""
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    note = tmp_path / ".run" / "temporary-folder"
    with subprocess.Popen([sys.executable, "-m", "calvaria.cli", "serve", "--folder", tmp_path], stdout=subprocess.DEVNULL) as serving:
        until(note.is_file)
        until(lambda: len(processes_of(server)) >= living)
        processes, scratch = processes_of(server), Path(Processes(note).scratch or "")
        serving.terminate()
        assert serving.wait(30) == 143
    assert all(is_gone(process) for process in processes)
    assert not server.running
    assert not scratch.exists()
    assert not note.exists()


def test_in_the_foreground_a_server_that_ends_by_itself_is_noticed(model_store, tmp_path):
    """Whoever started it, such as a container's host, can start it again."""
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    command = [sys.executable, "-m", "calvaria.cli", "serve", "--foreground", "--folder", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert any(line.startswith("Ready at") for line in serving.stdout)
        next(process for process in processes_of(server) if process.name() == "java").kill()
        _, said = serving.communicate(timeout=60)
    assert serving.returncode == 2
    assert "The server ended by itself" in said
    assert not server.running


def test_in_the_foreground_a_server_that_is_stopped_is_no_failure(model_store, tmp_path):
    """Whoever starts again what failed, such as systemd, must not start it again."""
    Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    command = [sys.executable, "-m", "calvaria.cli", "serve", "--foreground", "--folder", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert any(line.startswith("Ready at") for line in serving.stdout)
        assert Server(tmp_path).stop()
        _, said = serving.communicate(timeout=60)
    assert serving.returncode == 0, said
    assert "stopped from elsewhere" in said


def test_a_launch_that_fails_leaves_nothing(model_store, tmp_path, monkeypatch):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        server.start()
    assert not list(tmp_path.glob("calvaria-*"))


@pytest.mark.parametrize("taken", [".run", "logs", ".run/lock", ".run/stderr.log"])
def test_a_folder_that_cannot_be_written_is_named(model_store, tmp_path, monkeypatch, taken):
    """As one of a share that is mounted to be read, where root is refused, too: here, by what stands in the way of a file or folder."""
    server = Server.apart(tmp_path / "server", CONFIG, model_store=str(model_store))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = server.folder / taken
    if "/" in taken:
        path.mkdir(parents=True)
    else:
        path.write_text("no folder")
    with pytest.raises(CalvariaError, match="cannot be written: ") as refused:
        server.start()
    assert refused.value.code is ErrorCode.BAD_OPTION
    assert not list(tmp_path.glob("calvaria-*"))


def test_logs_that_cannot_be_written_are_refused(model_store, tmp_path, monkeypatch):
    """As those of another account, with which the server would run and never write a line."""
    server = Server.apart(tmp_path / "server", CONFIG, model_store=str(model_store))
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "logs")
    with pytest.raises(CalvariaError, match=r"logs cannot be written: this account may not\."):
        server.start()


def test_status_while_the_server_starts(model_store, tmp_path):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    command = [sys.executable, "-m", "calvaria.cli", "serve", "--folder", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as serving:
        try:
            until(lambda: server.running)
            status = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
        finally:
            serving.terminate()
    assert (status.exit_code, status.output) == (1, "The server is starting; no worker is ready.\n")


def test_stop_leaves_the_key_of_a_server_started_by_hand(tmp_path):
    server = Server.apart(tmp_path, CONFIG)
    server.key_file.write_text("{}")
    assert not server.stop()
    assert server.key_file.exists()


def test_a_taken_port_is_named(model_store, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server.apart(tmp_path, CONFIG, model_store=str(model_store), grpc_inference_port=str(port))
        assert f"Port {port} is taken" in refusal(server)


def test_a_folder_of_sockets_with_too_long_a_name_is_named(model_store, tmp_path, monkeypatch):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store))
    monkeypatch.setattr(tempfile, "tempdir", "/" + 74 * "x")
    with pytest.raises(CalvariaError, match="x is too long a name for a folder of sockets: set TMPDIR") as refused:
        server.start()
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_a_missing_file_is_named(model_store, tmp_path):
    server = Server.apart(tmp_path, CONFIG, model_store=str(model_store), metrics_config="nope.yaml")
    with pytest.raises(CalvariaError, match=r"metrics_config in config\.properties is .*nope\.yaml.*a file that exists"):
        server.start()


def test_a_missing_archive_is_named(tmp_path):
    empty = tmp_path / "store"
    empty.mkdir()
    assert "make archive" in refusal(Server.apart(tmp_path, CONFIG, model_store=str(empty)))
    assert "archive of completion" in refusal(Server.apart(tmp_path, CONFIG, model_store=str(empty), load_models="completion.mar"))


def test_java_that_does_not_start_is_quoted(model_store, tmp_path):
    assert "Invalid maximum heap size" in refusal(Server.apart(tmp_path, CONFIG, model_store=str(model_store), vmargs="-Xmx3zz"))


@pytest.mark.parametrize("rolled", [False, True], ids=["same log", "the log of yesterday is rolled over"])
def test_an_archive_of_another_version_is_refused_naming_both(model_store, tmp_path, rolled):
    if rolled:
        log = tmp_path / "logs" / "model_log.log"
        log.parent.mkdir()
        log.write_text("of another day\n" * 10_000)
        os.utime(log, (time.time() - 86_400,) * 2)
    old = tmp_path / "store"
    old.mkdir()
    with zipfile.ZipFile(model_store / "completion.mar") as new, zipfile.ZipFile(old / "completion.mar", "w") as changed:
        for name in new.namelist():
            changed.writestr(name, b"0.0.9\n" if name == "calvaria-version.txt" else new.read(name))
    message = refusal(Server.apart(tmp_path, CONFIG, model_store=str(old)))
    assert f"built with calvaria 0.0.9, but calvaria {calvaria.__version__} is installed" in message
