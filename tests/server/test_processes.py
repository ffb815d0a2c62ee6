"""Which processes a note claims, and for whom."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.processes import MARK, Processes

NOBODY = 65534


@contextmanager
def served(note: Path, account: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a server, with a note of it."""
    note.parent.mkdir()
    scratch = Processes(note).mark()
    if account is not None:
        os.chown(note, account, account)
        os.chown(scratch, account, account)
    with subprocess.Popen(["sleep", "600"], env=os.environ | {MARK: scratch}, user=account) as process:
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


def test_who_waits_for_a_server_learns_who_ended_it(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    note = tmp_path / "server" / "note"
    waiting = Processes(note)
    scratch = waiting.mark()
    with subprocess.Popen(["sleep", "600"], env=os.environ | {MARK: scratch}) as process:
        assert not waiting.ended_elsewhere()
        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(Processes(note).end)
            process.wait(10)
            assert waiting.ended_elsewhere(), "though its note is still there when the process has gone"
            assert ending.result()
    Processes(note).mark()
    assert waiting.ended_elsewhere()
    assert not waiting.ours
    Processes(note).end()
    shutil.rmtree(note.parent)
    assert waiting.ended_elsewhere()


def test_on_a_full_disk_no_temporary_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_text", lambda path, text: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    (tmp_path / "server").mkdir()
    processes = Processes(tmp_path / "server" / "note")
    with pytest.raises(OSError, match="No space left"):
        processes.mark()
    assert not processes.ours
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_another_accounts_server_is_left_alone_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose environment cannot be read."""
    note = tmp_path / "server" / "note"
    with served(note) as process:
        known = note.read_text()
        monkeypatch.setattr("os.geteuid", lambda: NOBODY)
        monkeypatch.setattr("psutil.process_iter", lambda wanted: [])
        for refused in (Processes(note).end, Processes(note).mark):
            with pytest.raises(CalvariaError, match=f"that of the account {pwd.getpwuid(os.getuid()).pw_name}: ") as caught:
                refused()
            assert caught.value.code is ErrorCode.BAD_OPTION
        assert note.read_text() == known
        assert Path(known.splitlines()[1]).is_dir()
        assert process.poll() is None
        monkeypatch.undo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another account")
def test_root_ends_another_accounts_server(tmp_path: Path) -> None:
    note = tmp_path / "server" / "note"
    with served(note, NOBODY) as process:
        assert Processes(note).end()
        process.wait(10)
        assert not note.exists()
