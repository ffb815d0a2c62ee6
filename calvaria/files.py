"""Files that a user names: a refusal where they cannot be read or written, and what is written is there whole or not at all."""

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES
from hashlib import sha256
from pathlib import Path

from calvaria.errors import bad_option

LONGEST_NAME = 200
"""Bytes of a name that leave room for what is added to it: file systems take 255."""

_log = logging.getLogger(__name__)


@contextmanager
def reading(path: Path | str, hint: str = "") -> Iterator[None]:
    """Turn a system's refusal to read into CalvariaError BAD_OPTION; the hint is added to its message."""
    try:
        yield
    except OSError as error:
        raise bad_option(f"{path} cannot be read: {error.strerror}. {hint}".strip()) from error


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn a system's refusal to write into CalvariaError BAD_OPTION."""
    try:
        yield
    except OSError as error:
        raise bad_option(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def using() -> Iterator[None]:
    """Turn a system's refusal of any file into CalvariaError BAD_OPTION: of one in a closed folder it does not even say what it is."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise bad_option(f"{error.filename} cannot be used: {error.strerror}.") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there. CalvariaError BAD_OPTION where the system refuses."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def claim(folder: Path) -> int:
    """A descriptor of a folder that nobody else claims until it is closed; BAD_OPTION where another program does.

    Two that fill a folder would each keep a record of their own there.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(number)
        raise bad_option(f"Another program fills {folder} at this moment: wait until it has ended, or choose another --out.") from error
    except OSError:
        _log.info("%s: its file system knows no locks for folders", folder)
    return number


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Make a folder if it is not there, which no other program fills meanwhile. Errors as of `make_folder` and `claim`."""
    make_folder(folder)
    number = claim(folder)
    try:
        yield
    finally:
        os.close(number)


def check_folder(path: Path) -> None:
    """CalvariaError BAD_OPTION unless the folder that a file is to be written into is there."""
    if not path.parent.is_dir():
        raise bad_option(f"{path} cannot be written: there is no folder {path.parent}.")


def check_writable(path: Path) -> None:
    """Make a file's folder; CalvariaError BAD_OPTION, before anything is begun, where the file could not be written. No new one is left."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        there = os.path.lexists(path)
        path.open("a").close()
        if not there:
            path.unlink()


def check_suffix(path: Path | None, suffix: str) -> None:
    """BAD_OPTION where a file to be written ends otherwise: an option whose value was forgotten takes the next file for it."""
    if path and path.suffix.lower() != suffix:
        raise bad_option(f"{path} is to be written, and does not end in {suffix}. Choose another name.")


def check_apart(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """CalvariaError BAD_OPTION where a file that is to be written would take the place of one that is read, or of another one."""
    taken = [path for path in inputs if path]
    for path in filter(None, outputs):
        if other := next((other for other in taken if _same(path, other)), None):
            raise bad_option(f"{path} would be written over {other}; choose another name.")
        taken.append(path)


def _same(path: Path, other: Path) -> bool:
    """Whether two names lead to one file, which may not be there yet: through links, too."""
    return os.path.realpath(path) == os.path.realpath(other) or (path.exists() and other.exists() and path.samefile(other))


def shortened(name: str) -> str:
    """A name of at most LONGEST_NAME bytes: a longer one ends in a hash of all of it, so that no two become one."""
    whole = os.fsencode(name)
    if len(whole) <= LONGEST_NAME:
        return name
    return f"{whole[: LONGEST_NAME - 17].decode(errors='ignore')}-{sha256(whole).hexdigest()[:16]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a file beside another, whose place it takes once it was written.

    Whoever reads sees the old file or the new one, whole, and processes that write the same file do not meet. Through a link the file that
    it leads to is replaced; what is no file, such as /dev/stdout, is written to as it is.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    if path.exists() and not path.stat().st_mode & 0o222:  # whose place may be taken, by the system's rules
        raise PermissionError(EACCES, "it is write-protected", str(path))
    path = Path(os.path.realpath(path))
    unfinished = path.with_name(f".{shortened(path.name)}.{os.getpid()}.part{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. CalvariaError BAD_OPTION where the system refuses, as on a disk that is full."""
    with writing(path), replacing(path) as unfinished:
        unfinished.write_bytes(content)
