"""The index of a data set that was made: a row for every file, so that a run goes on where it stopped and no failure is lost."""

import csv
import json
import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from calvaria.datasets.files import fingerprint
from calvaria.errors import CalvariaError, bad_option, error_code
from calvaria.files import claim, make_folder, reading, replacing, write_file, writing
from calvaria.io import Image, write
from calvaria.volume import BinaryVolume

INDEX = "index.csv"
SETTINGS = "settings.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One file of a data set, or why it is missing.

    name      path of the file below the data set's folder
    source    what it was made from: a path below the source folder, or the seeds
    kind      what that was: ct, mask, scan (beside a mask), mesh, or generated; of an answer, which output
    shape     voxels, such as "512 512 240"; spacing_mm likewise
    occupied  voxels, none of a scan
    error     code of what went wrong; "" where the file is there
    message   the same as a sentence; of a file that is there, what to mind
    made_of   fingerprint of the files that it was made from; "" where there are none
    """

    name: str
    source: str
    kind: str = ""
    shape: str = ""
    spacing_mm: str = ""
    occupied: int = 0
    error: str = ""
    message: str = ""
    made_of: str = ""

    @classmethod
    def of(cls, name: str, source: str, kind: str, volume: BinaryVolume, message: str = "", made_of: str = "") -> "Row":
        return cls(
            name, source, kind, _spelled(volume.shape), _spelled(volume.spacing_mm), volume.occupied, message=message, made_of=made_of
        )

    @classmethod
    def failed(cls, name: str, source: str, error: Exception) -> "Row":
        """The row of a file that failed; what is no refusal is logged whole."""
        refused = isinstance(error, CalvariaError)
        if not refused:
            _log.error("%s: %r", source, error, exc_info=error)
        return cls(name, source, error=error_code(error).value, message=str(error) if refused else repr(error))


class DataSet:
    """A folder that fills with volumes and their index; made again with the same settings, it goes on. One program at a time fills it."""

    def __init__(self, folder: Path, settings: dict[str, Any], planned: Iterable[str] = ()):
        """`planned`: the names of the files to come.

        BAD_OPTION where the folder cannot be written, holds a data set of other settings or, where none was begun, files of the planned
        names, or is being filled by another program.
        """
        self.folder = Path(folder)
        wanted = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.close = weakref.finalize(self, os.close, claim(self.folder))  # let another program fill the folder
            known = self.folder / SETTINGS
            if known.exists() and known.read_text() != wanted:
                raise bad_option(f"{folder} holds a data set that was made otherwise (see {SETTINGS}); choose another --out.")
            if not known.exists() and (there := next((name for name in (INDEX, *planned) if os.path.lexists(self.folder / name)), None)):
                raise bad_option(f"{self.folder / there} lies there already, and would be overwritten. Choose another --out.")
        write_file(known, wanted.encode())
        earlier = read_index(self.folder) if (self.folder / INDEX).exists() else []
        self.rows = {(row.name, row.source): row for row in earlier if not row.error}
        self._stale: dict[tuple[str, str], Row] = {}
        self.sort()

    def has(self, name: str, source: str, files: Sequence[Path] = ()) -> bool:
        """Whether a file is there, whole, and made from these files as they are now."""
        return self._is_there(name, source) and self.rows[name, source].made_of == _made_of(files)

    def add(self, volume: BinaryVolume, name: str, source: str, kind: str, message: str = "", files: Sequence[Path] = ()) -> None:
        """Write a volume that was made from these files, then its row."""
        path = self.folder / name
        make_folder(path.parent)
        write(path, volume)
        self.note(Row.of(name, source, kind, volume, message, _made_of(files)))

    def keep(self, file: Path, name: str, source: str, kind: str, image: Image) -> None:
        """Take over a file as it is, which holds this image, then write its row."""
        make_folder((self.folder / name).parent)
        with reading(file):
            write_file(self.folder / name, file.read_bytes())
        shape, spacing = _spelled(image.samples.shape), _spelled(np.linalg.norm(image.affine[:3, :3], axis=0))
        self.note(Row(name, source, kind, shape, spacing, made_of=_made_of([file])))

    def note(self, row: Row) -> None:
        """Add a row; a later one of the same name and source counts instead of it."""
        self._stale.pop((row.name, row.source), None)
        self.rows[row.name, row.source] = row
        with writing(self.folder), (self.folder / INDEX).open("a", newline="", errors="surrogateescape") as file:
            _writer(file).writerow(asdict(row))

    def retain(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget the rows of all but these names and sources: of sources that are gone. Their files stay, which is told."""
        kept = set(keys)
        forgotten = set(self._forget(self.rows.keys() - kept)) - {name for name, _ in kept}
        if left := sorted(name for name in forgotten if (self.folder / name).exists()):
            some = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
            _log.warning(
                "%s: %d files of sources that are gone stay (%s). Delete them if they should not count.", self.folder, len(left), some
            )

    @contextmanager
    def noting(self, source: str, *names: str) -> Iterator[None]:
        """Turn what goes wrong with a source into rows of the files that were to come of it: one bad file must not end a run.

        What was made of it earlier is deleted, since whoever reads the folder would take it for the answer. But where the system refused
        to read or write a file, as on a share that is not mounted, it stays with its row, and `failures` tells.
        """
        try:
            yield
        except Exception as error:
            kept = {name for name in names if _refused_by_system(error) and self._is_there(name, source)}
            for name in self._forget({(name, source) for name in names if name not in kept}):
                with writing(self.folder / name):
                    (self.folder / name).unlink(missing_ok=True)
            for name in names:
                row = Row.failed(name, source, error)
                if name in kept:
                    self._stale[name, source] = replace(row, message=f"{row.message} What was made of it earlier stays.")
                else:
                    self.note(row)

    def _is_there(self, name: str, source: str) -> bool:
        row = self.rows.get((name, source))
        return row is not None and not row.error and (self.folder / name).is_file()

    def _forget(self, keys: Set[tuple[str, str]]) -> list[str]:
        """Drop the rows of names and sources; the files that no other row names."""
        dropped = [self.rows.pop(key) for key in keys & self.rows.keys()]
        return sorted({row.name for row in dropped if not row.error} - {row.name for row in self.rows.values() if not row.error})

    def sort(self) -> None:
        """Write the index anew: by name, one row for each file."""
        with writing(self.folder), replacing(self.folder / INDEX) as path, path.open("w", newline="", errors="surrogateescape") as file:
            writer = _writer(file)
            writer.writeheader()
            writer.writerows(asdict(self.rows[key]) for key in sorted(self.rows))

    @property
    def failures(self) -> list[Row]:
        """What failed, by name: the rows with an error, and those of files that stay because their sources could not be read now."""
        found = {key: row for key, row in self.rows.items() if row.error} | self._stale
        return [found[key] for key in sorted(found)]


def _spelled(values: Iterable[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _refused_by_system(error: Exception) -> bool:
    """Whether the system stood in the way, and not what a file holds: what gzip complains of is an OSError, too, without a number."""
    return any(isinstance(each, OSError) and each.errno is not None for each in (error, error.__cause__))


def _made_of(files: Sequence[Path]) -> str:
    try:
        return fingerprint(files) if files else ""
    except OSError:  # one is gone, or its folder cannot be read
        return ""


def read_index(folder: Path | str) -> list[Row]:
    """The rows of a data set that was made. BAD_OPTION where there is no index, or it is none.

    A last line that was not written to its end is left out.
    """
    path = Path(folder) / INDEX
    try:
        with path.open(newline="", errors="surrogateescape") as file:
            whole = [row for row in csv.DictReader(file) if None not in row.values()]
            return [Row(**{**row, "occupied": int(row["occupied"])}) for row in whole]  # type: ignore[arg-type]
    except (OSError, TypeError, KeyError, ValueError, csv.Error) as error:
        raise bad_option(f"{path} cannot be read as an index: {error}.") from error


def _writer(file: TextIO) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, [field.name for field in fields(Row)])
