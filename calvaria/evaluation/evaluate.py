"""Score a predictor and the plain baselines on the same cases."""

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from calvaria.evaluation.baselines import BASELINES, Baseline
from calvaria.evaluation.cases import Case
from calvaria.evaluation.implants import Scores, score
from calvaria.predictor import Predictor
from calvaria.volume import BinaryVolume

Method = Callable[[BinaryVolume], Mapping[str, BinaryVolume]]
"""A defective skull in; "completed" and "implant" out, on the same grid."""


@dataclass(frozen=True)
class Result:
    """What one method made of one case."""

    case: str
    kind: str
    method: str
    scores: Scores
    seconds: float


def report(predictor: Predictor, cases: Iterable[Case], count: int, title: str, path: Path) -> None:
    """Score everything on `count` cases, showing progress; write the CSV to `path` and print the table."""
    compared = methods(predictor)
    console = Console()
    results = list(track(evaluate(cases, compared), "Scoring", total=count * len(compared), console=console))
    write_csv(path, results)
    console.print(summary(results, title))
    console.print(f"Every case: {path}", soft_wrap=True)


def methods(predictor: Predictor) -> dict[str, Method]:
    """The model and everything it is compared with, by the name that tables show."""

    def model(defective: BinaryVolume) -> Mapping[str, BinaryVolume]:
        return predictor.predict([defective])[0]

    return {"Calvaria": model} | {name: _completing(baseline) for name, baseline in BASELINES.items()}


def evaluate(cases: Iterable[Case], compared: Mapping[str, Method]) -> Iterator[Result]:
    """Every method on every case, case by case."""
    for case in cases:
        for name, method in compared.items():
            start = time.perf_counter()
            outputs = method(case.defective)
            seconds = time.perf_counter() - start
            yield Result(case.name, case.kind, name, score(outputs, case.implant, case.defective), seconds)


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """One row per case and method; distances in mm, infinite where nothing was proposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "kind", "method", *(field.name for field in fields(Scores)), "seconds"])
        for result in results:
            figures = [f"{figure:.4f}" for figure in asdict(result.scores).values()]
            writer.writerow([result.case, result.kind, result.method, *figures, f"{result.seconds:.2f}"])


def summary(results: Iterable[Result], title: str) -> Table:
    """One line per method: means, of the implant unless it says skull.

    HD95 is the median, since a case without any implant is infinitely far off; those are counted.
    """
    table = Table(title=title)
    table.add_column("method", no_wrap=True)
    for heading in ("DSC", "border DSC", "HD95 mm", "none", "skull DSC", "error %", "s"):
        table.add_column(heading, justify="right")
    by_method: dict[str, list[Result]] = {}
    for result in results:
        by_method.setdefault(result.method, []).append(result)
    for name, of_method in by_method.items():
        scores = [result.scores for result in of_method]
        mean = {field.name: float(np.mean([getattr(each, field.name) for each in scores])) for field in fields(Scores)}
        distances = [each.hd95_mm for each in scores]
        table.add_row(
            name,
            f"{mean['implant_dice']:.3f}",
            f"{mean['border_dice']:.3f}",
            f"{np.median(distances):.2f}",
            f"{sum(np.isinf(distances))} of {len(scores)}",
            f"{mean['skull_dice']:.4f}",
            f"{mean['error_percent']:.3f}",
            f"{np.mean([result.seconds for result in of_method]):.2f}",
        )
    return table


def _completing(baseline: Baseline) -> Method:
    def method(defective: BinaryVolume) -> Mapping[str, BinaryVolume]:
        implant = baseline(defective)
        return {"completed": defective.like(defective.mask | implant.mask), "implant": implant}

    return method
