"""The processes of one TorchServe: known across runs of ours, told from others, ended together.

They are `torchserve`, which waits for Java; Java; and the workers that Java starts. All of them inherit the name of a temporary folder
that no other server has, and are known by it, whatever became of the one that started them.
"""

import fcntl
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from calvaria.errors import bad_option
from calvaria.files import reading, replacing

STOP_TIMEOUT_S = 15.0
STARTING_S = 10.0
"""A note younger than this, and no process yet, is another start's."""
MARK = "TMPDIR"
"""The environment variable that holds the temporary folder."""
PREFIX = "calvaria-"
LONGEST_SOCKET = "xxxxxxxx", ".ts.sock.65535"
"""Below `PREFIX`, what `mkdtemp` and TorchServe append to the name of the temporary folder, at its longest."""
MOST_SOCKET_BYTES = 107
"""Of a socket's path: Linux takes 108 with the zero at its end."""


class Processes:
    """The processes whose temporary folder is the one noted in a file; the note goes when they do.

    With it is noted which folder the note lies in, so that a copy of that folder does not claim the server of the first: moved, a folder
    stays what it is; copied, it is another.
    """

    def __init__(self, note: Path):
        self._note = note
        self._mine: str | None = None

    def mark(self) -> str:
        """A new temporary folder, noted before anything can be started with it; FileExistsError where another server has noted one.

        CalvariaError BAD_OPTION where another account has: from here its processes cannot be told.
        """
        self._check_account()
        with self._alone():  # one of two that start at once
            if self._note.is_file():
                if self.scratch and (self.living() or 0 <= time.time() - self._note.stat().st_mtime <= STARTING_S):
                    raise FileExistsError(self._note)
                self._end()  # what is left of a server that was killed
            scratch = tempfile.mkdtemp(prefix=PREFIX)
            try:
                with replacing(self._note) as draft:  # there whole or not at all, for whoever reads it
                    draft.write_text(f"{self._place}\n{scratch}")
            except OSError:  # a full disk
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            self._mine = scratch
        return scratch

    @property
    def ours(self) -> bool:
        """Whether what is noted was marked here."""
        return self._mine is not None and self.scratch == self._mine

    def ended_elsewhere(self) -> bool:
        """Whether another program ended what was marked here; waits for one that is about to."""
        if self._note.parent.is_dir():
            with self._alone():
                return not self.ours
        return True

    def living(self) -> list[psutil.Process]:
        """Those that run now, the workers included."""
        scratch = self.scratch
        found = psutil.process_iter(["environ"]) if scratch else ()
        return [process for process in found if (process.info["environ"] or {}).get(MARK) == scratch]

    def end(self) -> bool:
        """Ask the server to end, so that it ends its workers; kill what is left after a while. Whether there was any.

        CalvariaError BAD_OPTION, and all stays as it is, where it is another account's, unless this is root's.
        """
        if not self._note.is_file():
            return False
        self._check_account()
        with self._alone():
            return self._end()

    def _end(self) -> bool:
        living = self.living()
        servers = [process for process in living if _name(process) == "java"] or living
        for process in servers:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(living, STOP_TIMEOUT_S)
        _kill(self.living())  # not only those of before: one that was just being started is among them
        if scratch := self.scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        self._note.unlink(missing_ok=True)  # a copied one, too, or an empty one, as a power cut may leave
        return bool(living)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within, nobody else marks or ends processes with this note."""
        lock = os.open(self._note.with_name("lock"), os.O_RDWR | os.O_CREAT, 0o600)  # who can open it can keep others waiting
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            yield
        finally:
            os.close(lock)

    def _check_account(self) -> None:
        """The environment of another account's processes is hidden from all but root: a server that lives would seem to be gone."""
        scratch = self.scratch
        owners = {path.stat().st_uid for path in (self._note, Path(scratch or self._note)) if path.exists()}
        if os.geteuid() != 0 and (others := owners - {os.geteuid()}):
            whose = _account(others.pop())
            raise bad_option(f"The server in {self._note.parent.parent} is that of the account {whose}: ask from that one, or as root.")

    @property
    def scratch(self) -> str | None:
        """The temporary folder, from `mark` to `end`; None where there is no note, or one that was copied here.

        CalvariaError BAD_OPTION where the note cannot be read.
        """
        with reading(self._note, "Ask from the account that runs the server."):
            place, _, scratch = self._note.read_text().partition("\n") if self._note.is_file() else ("", "", "")
        return scratch if scratch and place == self._place else None

    @property
    def _place(self) -> str:
        """What tells the folder of the note from its copies."""
        status = self._note.parent.stat()
        return f"{status.st_dev}:{status.st_ino}"


def check_place() -> None:
    """CalvariaError BAD_OPTION where temporary folders have so long a name that TorchServe's sockets could not lie in them."""
    place, (random, socket) = tempfile.gettempdir(), LONGEST_SOCKET
    if len(os.fsencode(f"{place}/{PREFIX}{random}/{socket}")) > MOST_SOCKET_BYTES:
        raise bad_option(f"{place} is too long a name for a folder of sockets: set {MARK} to a shorter one, such as /tmp.")


@contextmanager
def held(folder: str) -> Iterator[int]:
    """A lock on a folder, which a process inherits with its number: while one has it, systemd-tmpfiles deletes nothing in the folder."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_SH)
        yield number
    finally:
        os.close(number)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, STOP_TIMEOUT_S)


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
