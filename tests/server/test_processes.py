"""Which processes a note claims, and for whom."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calvaria.server.processes import MARK, Processes


@contextmanager
def served(note: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a server, with a note of it."""
    note.parent.mkdir()
    scratch = Processes(note).mark()
    with subprocess.Popen(["sleep", "600"], env=os.environ | {MARK: scratch}) as process:
        try:
            yield process
        finally:
            process.kill()
    shutil.rmtree(scratch, ignore_errors=True)


def test_a_copied_folder_leaves_the_server_of_the_first_alone_and_a_moved_one_keeps_its_own(tmp_path: Path) -> None:
    with served(tmp_path / "first" / "note") as process:
        shutil.copytree(tmp_path / "first", tmp_path / "copy")
        copy = Processes(tmp_path / "copy" / "note")
        assert not copy.living()
        assert not copy.end()
        assert process.poll() is None
        assert not (tmp_path / "copy" / "note").exists()
        (tmp_path / "first").rename(tmp_path / "moved")
        moved = Processes(tmp_path / "moved" / "note")
        scratch = Path(moved.scratch or "")
        assert scratch.is_dir()
        assert moved.end()
        process.wait(10)
        assert not scratch.exists()


def test_a_server_may_start_at_once_in_a_copied_folder(tmp_path: Path) -> None:
    with served(tmp_path / "first" / "note") as process:
        shutil.copytree(tmp_path / "first", tmp_path / "copy")
        copy = Processes(tmp_path / "copy" / "note")
        assert copy.mark() != Processes(tmp_path / "first" / "note").scratch
        copy.end()
        assert process.poll() is None
