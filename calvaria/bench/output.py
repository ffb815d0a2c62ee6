"""The JSON file of everything measured."""

import json
from pathlib import Path
from typing import Any

from calvaria.console import Report
from calvaria.files import write_file


def write_output(path: Path | None, found: dict[str, Any], report: Report) -> None:
    """Write what was found, if a file is wanted, and say where it is. Errors as of `write_file`."""
    if path:
        write_file(path, json.dumps(found, indent=1).encode() + b"\n")
        report.say(f"Everything: {path}")
