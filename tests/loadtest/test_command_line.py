"""`python -m loadtest`."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from calvaria.errors import CalvariaError
from loadtest.__main__ import app
from loadtest.record import Verdict
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
    ("verdicts", "words", "status", "said"),
    [
        ([], ["--compare"], 1, "Nothing was compared"),
        ([], [], 0, "Recorded"),
        ([Verdict("64", 0, "a", "")], ["--compare"], 0, "Recorded"),
        ([Verdict("64", 0, "a", "other voxels")], ["--compare"], 1, "1 distinct answers are not"),
    ],
)
def test_what_a_comparison_that_failed_ends_with(tmp_path, monkeypatch, verdicts, words, status, said):
    monkeypatch.setattr("loadtest.session.measure", lambda *given: verdicts)
    monkeypatch.setattr("calvaria.predictor.Predictor.load", lambda folder: None)
    (tmp_path / "config.properties").write_text("model_store=.\n")
    options = ["--clients", "1", "--requests", "1", "--folder", str(tmp_path), "--out", str(tmp_path / "run.jsonl")]
    result = CliRunner().invoke(app, ["run", *options, *words])
    assert result.exit_code == status, result.output
    assert said in result.output


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
