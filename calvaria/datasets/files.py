"""What lies in a folder: files by their suffix, told apart from what systems leave beside them."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from calvaria.errors import bad_option
from calvaria.files import reading
from calvaria.io import VOLUME_FORMATS

VOLUMES = (*(f".{name}" for name in VOLUME_FORMATS), ".nrrd.gz")
"""What can be read."""

MESHES = (".stl", ".obj", ".ply")
UNREAD = (".nhdr", ".hdr", ".mha", ".mhd", ".mgz", ".mgh", ".dcm")
"""Volumes in formats that are not read."""

_log = logging.getLogger(__name__)


def suffix_of(path: Path, suffixes: Sequence[str]) -> str | None:
    """Which of `suffixes` a name ends in, whatever its case; the longest, so that .nii.gz is one. None for hidden files."""
    if path.name.startswith("."):
        return None
    return max(
        (suffix for suffix in suffixes if path.name.lower().endswith(suffix) and len(path.name) > len(suffix)), key=len, default=None
    )


def stem_of(path: Path, suffixes: Sequence[str]) -> str:
    """A file's name without its suffix."""
    return path.name[: len(path.name) - len(suffix_of(path, suffixes) or "")]


def walk(folder: Path, suffixes: Sequence[str], above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every file below a folder that ends in one of `suffixes`, by name; nothing hidden, no link to a folder on the way (`above`) to it.

    Folders below it that cannot be read, such as lost+found, are passed over with a warning.
    """
    way = way_to(folder, above)
    for path in listed(folder):
        if path.is_dir():
            if path.resolve() not in way and _readable(path):
                yield from walk(path, suffixes, way)
        elif suffix_of(path, suffixes):
            yield path


def way_to(folder: Path, above: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """A folder and those above it, and those on the way to it through links: who follows a link to one of them walks in a circle."""
    here = Path(folder).resolve()
    return above | {here, *here.parents}


def tell_unread(folder: Path) -> None:
    """Log that a folder holds volumes which are passed over, where it does."""
    found = list(walk(folder, UNREAD))
    if found:
        suffixes = ", ".join(sorted({path.suffix.lower() for path in found}))
        _log.warning("%d files of %s are not looked at, such as %s: convert them to .nrrd or .nii.gz.", len(found), suffixes, found[0])


def by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """A folder's own files that end in one of `suffixes`, by their names without it. BAD_OPTION where two differ in nothing else."""
    found: dict[str, Path] = {}
    for path in listed(folder):
        if path.is_file() and suffix_of(path, suffixes):
            stem = stem_of(path, suffixes)
            if stem in found:
                raise bad_option(f"{found[stem]} and {path.name} are both called {stem!r}; leave one of them in the folder.")
            found[stem] = path
    return found


def folders(folder: Path) -> list[Path]:
    """A folder's own folders that can be read, by name; nothing hidden."""
    return [path for path in listed(folder) if path.is_dir() and _readable(path)]


@cache
def _readable(folder: Path) -> bool:
    """Whether it can be told what a folder holds; where not, that is logged, once."""
    can = os.access(folder, os.R_OK | os.X_OK)
    if not can:
        _log.warning("%s is passed over: this account may not read it.", folder)
    return can


def listed(folder: Path) -> list[Path]:
    """What a folder holds, by name, nothing hidden; BAD_OPTION where it cannot be read."""
    with reading(folder, "Name a folder."):
        return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


def put(files: dict[str, Path], says: str, path: Path) -> None:
    """Put a file, or a folder, where its name says it belongs; BAD_OPTION where another one says the same."""
    if other := files.get(says):
        raise bad_option(f"{other} and {path} say the same; leave one of them in the folder.")
    files[says] = path


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 of paths, sizes and times of files: another one where any of them was changed, or took another's place."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return sha256(repr(files).encode(errors="surrogateescape")).hexdigest()


def log_warnings(path: Path, warnings: Sequence[str]) -> None:
    """Log what was assumed about a file, once: training reads it again and again."""
    for warning in warnings:
        _tell(path, warning)


@cache
def _tell(path: Path, warning: str) -> None:
    _log.warning("%s: %s", path, warning)
