"""What a task is judged by, as data: a case, the figures of an answer, and what the model is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL.Image import Image

from calvaria.volume import BinaryVolume

Outputs = Mapping[str, BinaryVolume]
"""A task's outputs by name, on the grid that the task says."""

Method = Callable[[BinaryVolume], Outputs]
"""What is given in, outputs out."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is given to a task, and the truth it should find; `kind` is the kind of defect, `skull` the head it is of.

    For completion, the defective skull and its implant, on one grid.
    """

    name: str
    kind: str
    skull: str
    given: BinaryVolume
    truth: BinaryVolume


@dataclass(frozen=True)
class Planned:
    """A case that costs nothing until it is made; `make` may raise CalvariaError."""

    name: str
    kind: str
    skull: str
    make: Callable[[], Case]


@dataclass(frozen=True)
class Figure:
    """One column of the results.

    statistic  what stands for many cases: their mean, their median (where single ones may be infinite), or how many are not 0
    shown      whether the summary has it, under `heading`
    """

    name: str
    heading: str = ""
    statistic: Literal["mean", "median", "count"] = "mean"
    digits: int = 3

    @property
    def shown(self) -> bool:
        return bool(self.heading)


@dataclass(frozen=True)
class Scoring:
    """How a task is scored.

    figures    of every answer, in the order of the columns; more of the first is better, and by it the strongest baseline is chosen
    score      an answer's figures by name
    baselines  what the model is compared with, by name
    picture    draws a case beside an answer to it
    """

    figures: tuple[Figure, ...]
    score: Callable[[Case, Outputs], dict[str, float]]
    baselines: Mapping[str, Method]
    picture: Callable[[Case, Outputs], Image] | None = None
