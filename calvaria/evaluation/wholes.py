"""Cases made of the users' own whole skulls, or organs: of one file, or of each in a folder."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from calvaria import io
from calvaria.datasets.files import VOLUMES, by_stem
from calvaria.datasets.reading import read_logged
from calvaria.errors import bad_option
from calvaria.evaluation.scoring import Case, Drawn, Planned
from calvaria.volume import BinaryVolume

OfWhole = Callable[[BinaryVolume, str, Drawn], list[Planned]]
Reader = Callable[[Path], BinaryVolume]

UNREADABLE = "unreadable"
"""Kind of a file of which no case can be made."""


def of_wholes(path: Path, of_whole: OfWhole, drawn: Drawn, read: Reader = read_logged) -> list[Planned]:
    """The cases that `of_whole` makes of a file, named for it, or of every file in a folder; `read` tells what had to be assumed of each.

    Nothing of a folder stays in memory: a file is read again for its first case. One that cannot be read is a case that fails.
    CalvariaError where a single file, or none of a folder, makes a case, and BAD_OPTION for a folder without volumes.
    """
    if not path.is_dir():
        return of_whole(read(path), path.name, drawn)
    files = list(by_stem(path, VOLUMES).values())
    if not files:
        raise bad_option(f"{path} holds no volume. Looked for: {', '.join(f'*{suffix}' for suffix in VOLUMES)}.")
    again = lru_cache(maxsize=1)(lambda file: io.read(file).volume)
    cases = [case for file in files for case in _of_one(file, of_whole, drawn, read, again)]
    if all(case.kind == UNREADABLE for case in cases):
        cases[0].make()  # what is wrong with all may be what was asked for
    return cases


def _of_one(file: Path, of_whole: OfWhole, drawn: Drawn, read: Reader, again: Reader) -> list[Planned]:
    try:
        planned = of_whole(read(file), file.name, drawn)
    except Exception as error:  # whatever is wrong with one file must not end a run
        return [Planned(file.name, UNREADABLE, file.name, _raising(error), (file,))]
    return [replace(case, make=_anew(number, file, of_whole, drawn, again), files=(file,)) for number, case in enumerate(planned)]


def _anew(number: int, file: Path, of_whole: OfWhole, drawn: Drawn, read: Reader) -> Callable[[], Case]:
    return lambda: of_whole(read(file), file.name, drawn)[number].make()


def _raising(error: Exception) -> Callable[[], Case]:
    def make() -> Case:
        raise error

    return make
