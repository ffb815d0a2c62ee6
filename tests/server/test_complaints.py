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
