"""What a server that was started says, in its logs, of why it fails."""

import os
import time
from itertools import takewhile
from pathlib import Path

WORKER_DEATH = "Backend worker process died"
WORKER_BIRTH = "s_name_part0="
"""How the first line of a worker's begins."""
TRACEBACK_S = 0.5
"""For a worker's last words to reach the log."""
SHOWN_LINES = 12


class Logs:
    """The logs in a folder, and the file of the server's standard error, from `begin` on."""

    def __init__(self, folder: Path, errors: Path):
        self._folder, self._errors = folder, errors
        self._starts: dict[Path, tuple[int, int]] = {}

    def begin(self) -> None:
        """Leave out what the logs hold now."""
        self._starts = {path: (path.stat().st_ino, path.stat().st_size) for path in self._folder.glob("*.log")}

    def end(self) -> str:
        """The last lines of its standard error, and the last of its own log."""
        lines = (self._lines(self._errors), self._lines(self._folder / "ts_log.log"))
        return "\n".join(line for each in lines for line in [line for line in each if "ACCESS_LOG" not in line][-SHOWN_LINES:])

    def worker_complaint(self) -> str:
        """What a worker that could not load its model said before it died, and the end of the traceback after; empty if none has died."""
        if not self._worker_lines()[1]:
            return ""
        time.sleep(TRACEBACK_S)
        before, after = self._worker_lines()
        return "\n".join(before[-SHOWN_LINES:] + after[-SHOWN_LINES:])

    def _worker_lines(self) -> tuple[list[str], list[str]]:
        """What workers said before the first died, and from then until the next one comes."""
        lines = [line.split("MODEL_LOG - ")[-1] for line in self._lines(self._folder / "model_log.log")]
        death = next((i for i, line in enumerate(lines) if WORKER_DEATH in line), len(lines))
        after = takewhile(lambda line: not line.startswith(WORKER_BIRTH), lines[death:])
        return lines[:death], list(after)

    def _lines(self, path: Path) -> list[str]:
        """What was written to a log since `begin`; it may be a new file by now."""
        if not path.is_file():
            return []
        known, size = self._starts.get(path, (0, 0))
        with path.open("rb") as file:
            file.seek(size if os.fstat(file.fileno()).st_ino == known else 0)
            return file.read().decode(errors="replace").splitlines()
