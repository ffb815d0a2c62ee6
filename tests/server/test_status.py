"""`calvaria status` as a readiness check: whether every model can answer, whatever else is said."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from calvaria.cli import app
from calvaria.server.server import Server, Worker
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
    monkeypatch.setattr(Server, "workers", lambda self: workers)
    result = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert (result.exit_code, said in result.output) == (status, True)
    assert Server(tmp_path).ready == (status == 0)
