"""`make clean` and `make stop`, which must work in a clone where nothing was built yet, and build nothing themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "calvaria" / "__pycache__").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    return tmp_path


def make(clone: Path, target: str) -> None:
    subprocess.run(["make", target], cwd=clone, check=True, capture_output=True, text=True, timeout=60)


def test_stop_and_clean_in_a_fresh_clone(clone: Path) -> None:
    make(clone, "stop")
    make(clone, "clean")
    assert sorted(path.name for path in clone.rglob("*")) == ["Makefile", "calvaria", "requirements.lock", "runs"]


def test_clean_first_stops_a_server_that_runs(clone: Path) -> None:
    command = clone / ".venv" / "bin" / "calvaria"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\n[ "$1" = stop ] && [ -d .run ] && touch stopped\n')
    command.chmod(0o755)
    (command.parent / "__pycache__").mkdir()
    for name in (".run", "logs"):
        (clone / name).mkdir()
    (clone / "config.properties").touch()
    make(clone, "clean")
    assert (clone / "stopped").is_file()
    assert not (clone / ".run").exists()
    assert (command.parent / "__pycache__").is_dir(), ".venv stays as it is"
