"""What is quoted of the logs of a server that does not start."""

from pathlib import Path

import pytest

from calvaria.server import complaints
from calvaria.server.complaints import Logs


def test_of_a_worker_that_died_the_traceback_is_quoted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "TRACEBACK_S", 0.0)
    log, logs = tmp_path / "model_log.log", Logs(tmp_path, tmp_path / "stderr.log")
    log.write_text("W-1 MODEL_LOG - of another start: Backend worker process died.\n")
    logs.begin()
    assert logs.worker_complaint() == ""
    said = ["s_name_part0=/tmp/x", "Listening", "loading", "Backend worker process died.", "Traceback (most recent call last):"]
    said += ["  File", "ModuleNotFoundError: No module named 'x'", "s_name_part0=/tmp/x", "Listening again"]
    with log.open("a") as file:
        file.write("".join(f"2026 [INFO ] W-1 MODEL_LOG - {line}\n" for line in said))
    assert logs.worker_complaint().splitlines() == said[:7]


def test_of_a_server_that_ended_both_its_error_and_its_log_are_quoted(tmp_path: Path) -> None:
    """A long log does not crowd out the one line that says why."""
    logs = Logs(tmp_path, tmp_path / "stderr.log")
    logs.begin()
    (tmp_path / "stderr.log").write_text("AccessDeniedException: server.key\n")
    (tmp_path / "ts_log.log").write_text("".join(f"line {number}\n" for number in range(30)) + "GET / ACCESS_LOG\n")
    assert logs.end().splitlines() == ["AccessDeniedException: server.key", *(f"line {number}" for number in range(18, 30))]
