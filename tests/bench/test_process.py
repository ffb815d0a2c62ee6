from pathlib import Path

import pytest

from calvaria.bench.process import alone


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("import os; os.kill(os.getpid(), 11)", "the process ended with signal 11$"),
        ("raise MemoryError('no room')", "the process failed: MemoryError: no room$"),
    ],
)
def test_how_a_process_died_is_told(program: str, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "measurement.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=how):
        alone("measurement", "")


def test_the_last_line_is_the_answer_and_all_threads_are_used_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "measurement.py").write_text(
        "import json, os, sys\nprint('chatter')\nprint(json.dumps([os.environ['OMP_NUM_THREADS'], sys.argv[1]]))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert alone("measurement", "weigh") == ["7", "weigh"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert int(alone("measurement", "weigh")[0]) >= 1
