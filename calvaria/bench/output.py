"""The JSON file of everything measured: tried before any time is spent on measuring."""

import json
import os
from pathlib import Path
from typing import Any

from calvaria.console import Report
from calvaria.files import writing


def check_output(path: Path | None) -> None:
    """Make the file's folder; CalvariaError BAD_OPTION where the file, if one is wanted, cannot be written. None is left behind."""
    if path:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            there = os.path.lexists(path)
            path.open("a").close()
            if not there:
                path.unlink()


def write_output(path: Path | None, found: dict[str, Any], report: Report) -> None:
    """Write what was found, if a file is wanted, and say where it is. Errors as of `check_output`."""
    if path:
        with writing(path):
            path.write_text(json.dumps(found, indent=1) + "\n")
        report.say(f"Everything: {path}")
