"""A short load on a real TorchServe with a model of random weights: every answer compared, every refusal as it should be."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from calvaria.console import Report
from calvaria.predictor import Predictor
from calvaria.server.server import Server
from loadtest.record import Recording
from loadtest.report import report
from loadtest.run import Plan
from loadtest.session import measure

pytestmark = pytest.mark.server

BAD = "bad:garbage,bad:empty,bad:truncated,bad:nrrd-bomb,bad:option"


@pytest.fixture
def predictor(model_store: Path, tmp_path: Path) -> Predictor:
    """The weights that the server runs."""
    with zipfile.ZipFile(model_store / "completion.mar") as archive:
        archive.extractall(tmp_path / "model")
    return Predictor.load(tmp_path / "model")


def test_five_seconds_over_both_transports(server: Server, predictor: Predictor, tmp_path: Path):
    """Never more requests than the queue holds, so that a slow machine makes them late and nothing else."""
    plan = Plan(mix=f"32:8,48:4,{BAD}", rate_hz=5.0, duration_s=5.0, transport="both", report=True, timeout_s=200.0, warmup_s=0.5)
    out, quiet = tmp_path / "out" / "run.jsonl", Console(file=io.StringIO())
    measured = measure(plan, server, out, Report(quiet), predictor)
    assert not any(verdict.problem for verdict in measured.verdicts)
    recording = Recording.read(out)
    assert recording.end is not None
    assert recording.end.requests == len(recording.requests) > 10
    assert {each.number for each in recording.requests} == set(range(len(recording.requests)))
    assert [(each.ingredient, each.code) for each in recording.requests if not each.as_expected] == []
    volumes = [each for each in recording.requests if each.code == "ok"]
    assert {each.transport for each in volumes} == {"http", "grpc"}
    assert all(each.answer and each.stages_s["network"] > 0 for each in volumes)
    assert {(each.ingredient, each.variant, each.answer) for each in volumes} == {
        (each.ingredient, each.variant, each.answer) for each in recording.verdicts
    }
    summary = report(out, quiet)
    assert (summary.wrong, summary.compared) == (0, sum(each.scheduled_s >= 0.5 for each in volumes))
    assert summary.worker_bytes.keys() == {str(worker.pid) for worker in server.management.workers()}
    assert json.loads(out.with_suffix(".json").read_text())["volumes"]["codes"] == {"ok": summary.compared}
    assert out.with_suffix(".html").read_text().count("<svg") == 5
