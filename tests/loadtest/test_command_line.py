"""`python -m loadtest`."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.volume import BinaryVolume
from loadtest.__main__ import app
from loadtest.compare import predicted
from loadtest.record import Verdict
from loadtest.run import Plan
from loadtest.session import Measured
from loadtest.workload import Item
from tests.loadtest.recordings import recorded, request

ROOT = Path(__file__).resolve().parents[2]


def test_report_writes_beside_the_recording(tmp_path):
    path = recorded(tmp_path / "run.jsonl", *(request(number, 1.0 + number / 10, 0.05 + number / 1000) for number in range(20)))
    result = CliRunner().invoke(app, ["report", str(path)])
    assert result.exit_code == 0, result.output
    assert "Latency from the scheduled time" in result.output
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run.html", "run.json", "run.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--duration-s", "5"], "either a rate .* or a number of clients"),
        (["--rate", "5"], "Say when to end"),
        (["--rate", "5", "--duration-s", "1"], "leaves nothing to measure"),
        (["--clients", "2", "--requests", "5", "--mix", "64,bad:luck"], "bad:luck"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_made(tmp_path, arguments, sentence):
    out = tmp_path / "run.jsonl"
    result = CliRunner().invoke(app, ["run", *arguments, "--out", str(out)])
    assert isinstance(result.exception, CalvariaError)
    with pytest.raises(CalvariaError, match=sentence):
        raise result.exception
    assert not out.exists()


@pytest.mark.parametrize(
    ("unexpected", "verdicts", "words", "status", "said"),
    [
        (0, [], ["--compare"], 1, "Nothing was compared"),
        (0, [], [], 0, "Recorded"),
        (3, [], [], 1, "3 requests were not answered as they should be"),
        (0, [Verdict("64", 0, "a", "")], ["--compare"], 0, "Recorded"),
        (0, [Verdict("64", 0, "a", "other voxels")], ["--compare"], 1, "1 distinct answers are not"),
        (1, [Verdict("64", 0, "a", "")], ["--compare"], 1, "1 requests were not"),
    ],
)
def test_a_run_that_did_not_go_as_it_should_ends_with_a_status(tmp_path, monkeypatch, unexpected, verdicts, words, status, said):
    monkeypatch.setattr("loadtest.session.measure", lambda *given: Measured(unexpected, verdicts))
    monkeypatch.setattr("calvaria.predictor.Predictor.load", lambda folder: None)
    (tmp_path / "config.properties").write_text("model_store=.\n")
    options = ["--clients", "1", "--requests", "1", "--folder", str(tmp_path), "--out", str(tmp_path / "run.jsonl")]
    result = CliRunner().invoke(app, ["run", *options, *words])
    assert result.exit_code == status, result.output
    assert said in result.output


def test_without_a_server_the_recording_before_stays(tmp_path):
    (tmp_path / "config.properties").write_text("model_store=.\ninference_address=http://127.0.0.1:9\ndisable_token_authorization=true\n")
    out = tmp_path / "run.jsonl"
    out.write_text("before")
    options = [
        "--clients",
        "1",
        "--requests",
        "1",
        "--mix",
        "bad:garbage",
        "--transport",
        "http",
        "--folder",
        str(tmp_path),
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(app, ["run", *options])
    assert isinstance(result.exception, CalvariaError)
    assert result.exception.code is ErrorCode.UNAVAILABLE
    assert out.read_text() == "before"


@pytest.mark.parametrize(("model", "asked"), [("completion", {"output": "implant"}), ("super-resolution", {}), ("own", {})])
def test_without_an_output_completions_is_the_implant_and_others_first(model, asked):
    plan = Plan("64", model=model, clients=1, requests=1)
    assert plan.options == asked
    mask = BinaryVolume.on_grid(np.eye(3, dtype=np.bool_)[None], (1, 1, 1))
    item = Item("64", 0, encode(mask, "nrrd"), plan.options)
    answer = predicted(item, SimpleNamespace(predict=lambda volumes: [{"whole": mask, "implant": mask}]))
    assert list(answer) == [asked.get("output", "whole")]


def test_a_recording_that_could_not_be_written_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("loadtest.session.measure", lambda *given: pytest.fail("begun"))
    (tmp_path / "config.properties").write_text("model_store=.\n")
    (tmp_path / "file").write_text("")
    options = ["--clients", "1", "--requests", "1", "--folder", str(tmp_path), "--out", str(tmp_path / "file" / "run.jsonl")]
    result = CliRunner().invoke(app, ["run", *options])
    assert isinstance(result.exception, CalvariaError)
    assert "run.jsonl cannot be written: " in str(result.exception)


def test_as_a_program_a_refusal_is_a_sentence_and_a_code(tmp_path):
    command = [sys.executable, "-m", "loadtest", "report", str(tmp_path / "none.jsonl")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 2
    assert answer.stderr.endswith("none.jsonl cannot be read: No such file or directory. [bad-option]\n")
