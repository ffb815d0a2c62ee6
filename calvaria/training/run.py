"""A training run from the command line: make the skulls, fit, and show how it goes."""

import logging
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from calvaria.errors import CalvariaError, ErrorCode, bad_option, error_code
from calvaria.files import filling, reading
from calvaria.tasks import Settings
from calvaria.training.checkpoint import CHECKPOINT
from calvaria.training.checkpoint import Progress as TrainingProgress
from calvaria.training.config import TrainConfig
from calvaria.training.examples import training_seeds, validation_seeds
from calvaria.training.fit import check, fit
from calvaria.training.given import GivenCase
from calvaria.training.lessons import LESSONS
from calvaria.training.skulls import generated_skulls, store
from calvaria.training.stopping import Stopped, end_with_parent
from calvaria.training.team import check_share, cores_each, leads
from calvaria.weights import WEIGHTS, load_weights

log = logging.getLogger(__name__)

LOADER_ENDED = "signal: Killed", "signal: Bus error"
"""What PyTorch says of a process that makes examples where the system, or its shared memory, had no room for it any more."""

TOLD = 5
"""Most cases that cannot be learned from and are told of one by one."""

LINE_STEPS = 100
LINE_S = 30.0
"""Off a terminal, a line comes after so many steps or seconds, whichever are over first."""


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

    `cases`: a folder to learn from, instead of what the configuration says. CalvariaError if it cannot be, as where another
    program trains in `folder`.
    """
    config = read_config(task, config_path)
    if cases:
        config = replace(config, data=replace(config.data, cases=str(cases.resolve())))
    check_share(config.optimizer.batch)
    check(config, folder, device, start, first)  # what is refused is refused before an hour of making skulls, not after
    if config.continues and not start and not (folder / CHECKPOINT).exists() and leads():
        log.warning("%s is for a run that goes on from weights, and short: without --start it begins with random ones.", config_path)
    console = get_console() if leads() else Console(quiet=True)  # of a team, the first alone speaks, and keeps the folder
    with _bars(console) as bars:
        count, skulls, note = _skulls(config, folder, first)
        making = Stage(bars, "skulls", count, note)
        for done, _ in enumerate(skulls, start=1):
            making.reach(done, note)
        training = Stage(bars, "training", config.last_step)
        try:
            with filling(folder) if leads() else nullcontext():
                path = fit(config, folder, device, lambda p: training.reach(p.step, _note(task, p), p.validated), start, first)
        except Stopped as stopped:
            _say(console, f"Stopped after step {stopped.step} of {config.last_step}: the same command goes on from there.")
            sys.exit(128 + stopped.number)
        except Exception as error:
            if error_code(error) is not ErrorCode.OUT_OF_MEMORY and not any(said in str(error) for said in LOADER_ENDED):
                raise
            advice = "Lower batch in the configuration's [optimizer], or channels in its [network]."
            raise CalvariaError(ErrorCode.OUT_OF_MEMORY, f"Training takes more memory than there is ({error}). {advice}") from error
    _say(console, str(path))


def _skulls(config: TrainConfig, folder: Path, first: Path | None) -> tuple[int, Iterator[object], str]:
    """How many skulls are to be made, or read to see that each can be learned from, the making of them, and what is said of them."""
    if config.data.cases:
        parts = LESSONS[config.task].given.cases(config)
        said = ", ".join(f"{len(part)} of {len({case.skull for case in part})} heads" for part in parts)
        cases = [] if (folder / CHECKPOINT).exists() else [case for part in parts for case in part]
        settings = load_weights(first / WEIGHTS)[2] if first else config.settings
        return len(cases), _read(cases, partial(_check, config.task, settings), cores_each()), f"learned from and validated on: {said}"
    if LESSONS[config.task].generated is not generated_skulls:  # what else there is is made as it is drawn
        return 0, iter(()), ""
    seeds = [*validation_seeds(config), *training_seeds(config)]
    return len(seeds), store(config, folder).make(seeds, cores_each()), ""


def _read(cases: list[GivenCase], check: Callable[[GivenCase], CalvariaError | None], workers: int) -> Iterator[object]:
    """Read all cases. CalvariaError that names those that cannot be learned from, before hours of training."""
    refused = []
    with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
        for error in pool.map(check, cases):
            refused += [error] if error else []
            yield error
    if refused:
        more = f" (and {len(refused) - TOLD} more)" if len(refused) > TOLD else ""
        told = " ".join(error.message for error in refused[:TOLD])
        raise CalvariaError(refused[0].code, f"{told}{more} Mend these files, or take them out of the folder.")


def _check(task: str, settings: Settings, case: GivenCase) -> CalvariaError | None:
    try:
        given, truth, *_ = case.read()
        LESSONS[task].learnable(given, truth, settings)
    except CalvariaError as error:
        return CalvariaError(error.code, f"{case.name} cannot be learned from: {error.message}")
    return None


def read_config(task: str, path: Path) -> TrainConfig:
    """The configuration of a run; CalvariaError BAD_OPTION for a file that is absent, mistyped, or of another task."""
    try:
        with reading(path, "Name a configuration with --config."):
            config = TrainConfig.read(path)
    except ValueError as error:
        raise bad_option(f"The configuration {path} cannot be used: {error}.") from error
    if task not in LESSONS:
        raise bad_option(f"{task} cannot be learned: it has no row in calvaria/training/lessons.py.")
    if config.task != task:
        raise bad_option(f"{path} trains {config.task}, not {task}. Name another with --config.")
    return config


class Stage:
    """How far a part of a run has come: a live bar or, where `bars` are disabled, a plain line now and then."""

    def __init__(self, bars: Progress, what: str, total: int, note: str = "") -> None:
        self._bars = bars
        self._id = bars.add_task(what, total=total, note=note)
        self._task = bars.tasks[-1]
        self._said_step = self._said_s = -math.inf

    def reach(self, done: int, note: str, notable: bool = False) -> None:
        """Say so in a line if it is `notable`, the first, the last or due."""
        self._bars.update(self._id, completed=done, note=note)
        now = self._bars.get_time()
        due = done - self._said_step >= LINE_STEPS or now - self._said_s >= LINE_S
        if self._bars.disable and (notable or due or self._task.finished):
            self._said_step, self._said_s = done, now
            left = self._task.time_remaining
            parts = (f"{self._task.description} {done} of {self._task.total}", note, left and f"{timedelta(seconds=left)} left")
            _say(self._bars.console, ", ".join(part for part in parts if part))


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _note(task: str, progress: TrainingProgress) -> str:
    quality = "" if math.isnan(progress.quality) else f", {LESSONS[task].measured} {progress.quality:.3f}"
    return f"loss {progress.loss:.3f}{quality}"


def _bars(console: Console) -> Progress:
    """Disabled where they could not move; times left are judged by the last ten minutes, which a validation does not fill."""
    left = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left)
    move = console.is_terminal and not console.is_dumb_terminal and not console.quiet
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console, speed_estimate_period=600, disable=not move)
