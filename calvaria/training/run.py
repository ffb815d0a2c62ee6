"""A training run from the command line: make the skulls, fit, and show how it goes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from calvaria.datasets import Pair
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.tasks import Settings
from calvaria.training import fit
from calvaria.training.config import TrainConfig
from calvaria.training.given import given_cases
from calvaria.training.lessons import LESSONS
from calvaria.weights import WEIGHTS, load_weights


def run(
    task: str,
    config_path: Path,
    folder: Path,
    device: str,
    start: Path | None = None,
    first: Path | None = None,
    cases: Path | None = None,
) -> None:
    """Make or continue the run in `folder`; skulls are kept beside it, so that other runs find them. `start` and `first` as in `fit`.

    `cases`: a folder to learn from, instead of what the configuration says. CalvariaError if it cannot be.
    """
    config = read_config(task, config_path)
    if cases:
        config = replace(config, data=replace(config.data, cases=str(cases.resolve())))
    fit.training_examples(config, folder, first)  # what is refused is refused before an hour of making skulls, not after
    if start:
        fit.begun(config, start)
    with _bars() as bars:
        count, skulls, note = _skulls(config, folder, first)
        making = bars.add_task("skulls", total=count, note=note)
        for _ in skulls:
            bars.advance(making)
        training = bars.add_task("training", total=config.last_step, note="")
        path = fit.fit(config, folder, device, lambda p: bars.update(training, completed=p.step, note=_note(task, p)), start, first)
    print(path)


def _skulls(config: TrainConfig, folder: Path, first: Path | None) -> tuple[int, Iterator[object], str]:
    """How many skulls are to be made, or read to see that each can be learned from, the making of them, and what is said of them."""
    workers = os.cpu_count() or 1
    if config.data.cases:
        parts = given_cases(config)
        said = ", ".join(f"{len(part)} of {len({pair.skull for pair in part})} heads" for part in parts)
        cases = [] if (folder / fit.CHECKPOINT).exists() else [pair for part in parts for pair in part]
        settings = load_weights(first / WEIGHTS)[2] if first else config.settings
        return len(cases), _read(cases, partial(_check, config.task, settings), workers), f"learned from and validated on: {said}"
    seeds = [*fit.validation_seeds(config), *fit.training_seeds(config)] if LESSONS[config.task].skulls else []
    return len(seeds), fit.store(config, folder).make(seeds, workers), ""


def _read(cases: list[Pair], check: Callable[[Pair], None], workers: int) -> Iterator[object]:
    """CalvariaError for the first that cannot be learned from, before hours of training."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(check, cases)


def _check(task: str, settings: Settings, pair: Pair) -> None:
    try:
        LESSONS[task].learnable(pair.read()[0], settings)
    except CalvariaError as error:
        raise CalvariaError(error.code, f"{pair.name} cannot be learned from: {error.message}") from error


def read_config(task: str, path: Path) -> TrainConfig:
    """The configuration of a run; CalvariaError BAD_OPTION for a file that is absent, mistyped, or of another task."""
    try:
        config = TrainConfig.read(path)
    except (OSError, ValueError) as error:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"The configuration {path} cannot be used: {error}. Name one with --config.") from error
    if config.task != task:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"{path} trains {config.task}, not {task}. Name another with --config.")
    return config


def _note(task: str, progress: fit.Progress) -> str:
    return f"loss {progress.loss:.3f}  {LESSONS[task].measured} {progress.quality:.3f}"


def _bars() -> Progress:
    left = TimeRemainingColumn(elapsed_when_finished=True)
    return Progress(
        TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left, TextColumn("{task.fields[note]}")
    )
