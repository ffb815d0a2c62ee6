"""What a task is judged by, as data: its cases, the figures of an answer, and what the model is compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL.Image import Image

from calvaria.evaluation.records import Row
from calvaria.synthetic.seeds import GENERATOR
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

Outputs = Mapping[str, BinaryVolume]
"""A task's outputs by name, on the grid that the task says."""

Method = Callable[[BinaryVolume, Extras], Outputs]
"""A method: from what is given, and on what grid the answer is wanted, to outputs."""

DRAWN_AS = 2
"""Version of the tests' own defects and mistakes: another one where a seed draws others, so that no results are mixed."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is given to a task, and the truth it should find.

    given  the defective skull, the coarse skull, the mask with mistakes
    truth  the implant, the fine skull, the organ, on the grid of the answer
    extras  what the task is told beside it, such as what grid is wanted
    """

    given: BinaryVolume
    truth: BinaryVolume
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True)
class Planned:
    """A case that costs nothing until it is made.

    kind   of defect, of grid, of organ: what cases are grouped by
    skull  whose it is: cases of one head are no independent heads
    make   may raise CalvariaError
    files  what it is read from, where it is
    """

    name: str
    kind: str
    skull: str
    make: Callable[[], Case]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One column of the results.

    statistic  what stands for many cases: their mean, their median (where single ones may be infinite), or how many are not 0
    shown      whether the summary has it, under `heading`
    better     whether more of it is better, or less: then kinds are tabled by it, and the model is compared with the strongest baseline;
               None: it only tells
    """

    name: str
    heading: str = ""
    statistic: Literal["mean", "median", "count"] = "mean"
    digits: int = 3
    better: Literal["more", "less"] | None = None

    @property
    def shown(self) -> bool:
        return bool(self.heading)


@dataclass(frozen=True)
class Band:
    """Cases whose figure lies from `low` to `high`, which a goal is set for; `heading` says what they are."""

    figure: str
    low: float
    high: float
    heading: str

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Rows within, and refusals of cases of which another row is."""
        within = [row for row in rows if not row.error and self.low <= row.figures[self.figure] <= self.high]
        cases = {row.case for row in within}
        return within + [row for row in rows if row.error and row.case in cases]


@dataclass(frozen=True)
class Scoring:
    """How a task is scored.

    figures    of every answer, in the order of the columns; the first stands below a picture
    score      an answer's figures by name
    baselines  what the model is compared with, by name
    picture    draws a case beside an answer to it
    apart      kinds are tests of their own: each has a summary, and there is none of all
    band       cases that have a summary of their own beside that of all
    subject    what several cases may be of
    """

    figures: tuple[Figure, ...]
    score: Callable[[Case, Outputs], dict[str, float]]
    baselines: Mapping[str, Method]
    picture: Callable[[Case, Outputs], Image] | None = None
    apart: bool = False
    band: Band | None = None
    subject: str = "skull"


@dataclass(frozen=True)
class Drawn:
    """Which cases are drawn: those of these seeds, of these kinds (none: the test's own choice), on voxels of about `spacing_mm`."""

    seeds: range
    kinds: tuple[str, ...] = ()
    spacing_mm: float = 1.0


@dataclass(frozen=True)
class Test:
    """One test of a task: where its cases come from, and how answers are scored. Sources may raise CalvariaError.

    noun       what the cases are, in a title
    generated  cases from seeds that no training saw
    of_whole   cases made of one volume, which has a name
    of_folder  cases from a folder of the user's own
    spaced     whether generated cases heed `Drawn.spacing_mm`
    coarsened  a case on cells of so many mm, to score a model on its working grid
    """

    noun: str
    scoring: Scoring
    generated: Callable[[Drawn], list[Planned]]
    of_whole: Callable[[BinaryVolume, str, Drawn], list[Planned]]
    of_folder: Callable[[Path], list[Planned]] | None = None
    spaced: bool = False
    coarsened: Callable[[Planned, float], Planned] | None = None

    __test__ = False  # no class of tests, whatever pytest thinks of its name


@dataclass(frozen=True)
class Assessment:
    """How a task is assessed: one row for each task.

    subject  what generated cases are of, in a title
    kinds    that may be chosen
    usual    the test of what the task is for
    intact   the test of what needs no change, where there is one
    generator  -> version of what makes the generated cases
    """

    task: str
    subject: str
    kinds: tuple[str, ...]
    usual: Test
    intact: Test | None = None
    generator: Callable[[], object] = lambda: GENERATOR
