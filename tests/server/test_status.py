"""`calvaria status` as a readiness check: whether every model can answer, whatever else is said."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from calvaria.cli import app
from calvaria.server.management import Management, Worker
from calvaria.server.settings import CONFIG

READY, BUSY = Worker("completion", 1, True), Worker("completion", 2, False)
OTHER = Worker("refinement", 3, True)


@pytest.mark.parametrize(
    ("workers", "status", "said"),
    [
        ([READY, OTHER], 0, "refinement: worker 3 ready"),
        ([READY, BUSY, OTHER], 0, "completion: worker 2 not ready"),
        ([READY], 1, "No worker is ready for refinement."),
        ([BUSY, OTHER], 1, "No worker is ready for completion."),
        ([], 1, "No server is running."),
    ],
)
def test_it_is_ready_when_every_model_can_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: list[Worker], status: int, said: str
) -> None:
    (tmp_path / CONFIG).write_text("model_store=.\nload_models=completion.mar,refinement.mar\n")
    monkeypatch.setattr(Management, "workers", lambda self: workers)
    result = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert (result.exit_code, said in result.output) == (status, True)


@pytest.mark.parametrize(("left", "status", "said"), [(8, 0, ""), (6.5, 0, "expires in 6.5 days"), (-1, 1, "has expired")])
def test_a_token_that_expires_is_told_and_one_that_has_expired_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, status: int, said: str
) -> None:
    (tmp_path / CONFIG).write_text("model_store=.\nload_models=completion.mar\n")
    end = (datetime.now(UTC) + timedelta(days=left)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    (tmp_path / "key_file.json").write_text(json.dumps({"inference": {"key": "x", "expiration time": end}}))
    monkeypatch.setattr(Management, "workers", lambda self: [READY])
    result = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert result.exit_code == status
    assert said in result.output
    assert ("token" in result.output) == bool(said)


def test_a_key_file_of_another_account_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG).write_text("model_store=.\nload_models=completion.mar\n")
    (tmp_path / "key_file.json").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "key_file.json")  # root may read every file
    result = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert (result.exit_code, "key_file.json cannot be read from this account" in result.output) == (1, True)
