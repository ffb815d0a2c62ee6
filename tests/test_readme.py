"""What the README says to type by hand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from calvaria.server.java import java_version

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_line_that_prints_java_home() -> None:
    (line,) = re.findall(r"`\.venv/bin/python -c '(.*?)'`", README)
    home = subprocess.run([sys.executable, "-c", line], check=True, capture_output=True, text=True).stdout.strip()
    assert java_version(Path(home)) >= 17


def test_the_line_that_starts_torchserve() -> None:
    parser = pytest.importorskip("ts.arg_parser", reason="TorchServe is not installed").ArgParser.ts_parser()
    (line,) = re.findall(r"^make archive && \. \.venv/bin/activate && torchserve (.*)$", README, re.MULTILINE)
    words = parser.parse_args(shlex.split(line))
    assert words.start
    assert words.no_config_snapshots
    assert (ROOT / words.ts_config).is_file()
    assert f"torchserve {line}" in (ROOT / words.ts_config).read_text()
