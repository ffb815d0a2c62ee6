"""The processes of one TorchServe: known across runs of ours, told from others, ended together.

They are `torchserve`, which waits for Java; Java; and the workers that Java starts.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

STOP_TIMEOUT_S = 15.0
JAVA_PID = ".model_server.pid"
"""Where TorchServe writes the number of its Java process, in its temporary folder."""


@dataclass(frozen=True)
class Launched:
    """What was started: the launcher's number and time of creation, and the temporary folder given to it, which no other server has."""

    pid: int
    created: float
    scratch: str

    @classmethod
    def now(cls, pid: int, scratch: str) -> "Launched":
        return cls(pid, psutil.Process(pid).create_time(), scratch)

    @classmethod
    def read(cls, path: Path) -> "Launched | None":
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def processes(self) -> list[psutil.Process]:
        """The launcher and Java, as far as they live; Java, if it does, is the last."""
        launcher = _living(self.pid, lambda process: process.create_time() == self.created)
        java = _living(self._java_pid(), lambda process: any(self.scratch in word for word in process.cmdline()))
        return launcher + java

    def _java_pid(self) -> int | None:
        try:
            return int((Path(self.scratch) / JAVA_PID).read_text())
        except (OSError, ValueError):
            return None


def end(processes: Sequence[psutil.Process]) -> None:
    """Ask a server to end, so that it ends its workers; kill what is left of it after a while."""
    tree = set(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            tree |= set(process.children(recursive=True))
    with suppress(psutil.NoSuchProcess):
        processes[-1].terminate()
    _, left = psutil.wait_procs(tree, STOP_TIMEOUT_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, STOP_TIMEOUT_S)


def _living(pid: int | None, is_ours: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """The process with this number, unless it has ended, or the number belongs to another by now."""
    try:
        process = psutil.Process(pid) if pid else None
        return [process] if process and process.status() != psutil.STATUS_ZOMBIE and is_ours(process) else []
    except psutil.Error:
        return []
