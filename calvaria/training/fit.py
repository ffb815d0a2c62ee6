"""Fit a network: the paper's six-level loss, one configuration, resumable to the same result."""

import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset, Subset

from calvaria.dense import DenseNetwork
from calvaria.errors import CalvariaError, bad_option
from calvaria.files import make_folder
from calvaria.inference import probability
from calvaria.networks import EncoderDecoder
from calvaria.tasks import TASKS, Settings
from calvaria.training.checkpoint import CHECKPOINT, Learner, Progress, Run, resume, save, state_of
from calvaria.training.config import OptimizerConfig, TrainConfig
from calvaria.training.data import EXAMPLES, Batch, Example
from calvaria.training.examples import HeldOut, first_sha256, training_examples
from calvaria.training.history import HISTORY, append, cut_back
from calvaria.training.lessons import LESSONS, Lesson
from calvaria.training.loss import pyramid_loss
from calvaria.training.stopping import SIGNALS, Stopped, asked_to_stop, end_with_parent
from calvaria.training.team import Team, check_share, cores_each
from calvaria.training.widening import widened
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_state, save_weights, weights_sha256

CHECKPOINT_EVERY = 250
"""Steps; every validation is followed by one, too."""

DENSE = "dense-twin.safetensors"
"""Weights of a dense twin, in a layout of their own: nothing serves them."""


def fit(
    config: TrainConfig,
    folder: Path,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda _: None,
    start: Path | None = None,
    first: Path | None = None,
) -> Path:
    """Train, or go on where `folder` stopped, and write the weights there. Returns their path.

    A new run begins with the weights in the folder `start`, whose network may have fewer inputs or channels (`widened`), or with random
    ones. `first` is the folder of the first network, where the one to train is the second.
    Skulls that are generated must lie in the store already (`store`). The same configuration, and the same cases, give the same weights on
    the same machine, interrupted or not, and the same `history.csv` beside them, which also keeps the validation at an end that was not the
    last (`until`). Under `torchrun` several processes share every batch; the first of them saves and reports.
    Asked to stop, by Ctrl-C, SIGTERM or SIGHUP, it saves where it is and raises Stopped.
    CalvariaError BAD_OPTION where the folder holds another run, or `first` and the configuration do not fit, and where a gradient is not
    finite, rather than weights that are not.
    """
    check_share(config.optimizer.batch)
    team = Team.assemble(device)
    device = team.device(device)
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device).index or 0)  # kernels are started more quickly on the current one
    check(config, folder, device, start, first)
    make_folder(folder)
    torch.manual_seed(config.seed)
    network = EncoderDecoder(config.network)
    if start:
        network.load_state_dict(begun(config, start))
    learner: Learner = DenseNetwork(network) if config.dense else network
    learner.to(device)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.0, weight_decay=config.optimizer.weight_decay, amsgrad=True)
    examples = training_examples(config, folder, first)
    run = _run_of(config, start, first)
    progress = resume(folder / CHECKPOINT, run, config.last_step, learner, optimizer)
    team.check_together(progress.step, device)
    path = folder / (DENSE if config.dense else weights_of(config))
    if progress.step == config.last_step and path.exists():
        return path
    log = _Log(config, folder, run, learner, optimizer, HeldOut(config, folder, first), device) if team.leads else None
    if log:
        cut_back(folder / HISTORY, progress.step)
    with asked_to_stop() as stop:
        for step, batch in enumerate(_batches(examples, config, progress.step, team, device), start=progress.step + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config.optimizer)
            loss = train_step(learner, optimizer, Batch.of(batch, config.settings, device), config.optimizer, device, team)
            mean = loss if math.isnan(progress.loss) else 0.97 * progress.loss + 0.03 * loss
            progress = Progress(step, mean, progress.quality)
            stopped = team.most(stop(), device) if step < config.last_step else 0
            if log:
                progress = log.note(progress, stopping=bool(stopped))
                report(progress)
            if stopped:
                raise Stopped(stopped, step)
    if team.leads and config.dense:
        save_state(path, learner)
    elif team.leads:
        save_weights(path, network, TASKS[config.task], config.settings)
    return path


def weights_of(config: TrainConfig) -> str:
    """The file of a run's weights."""
    return CLOSE_UP if config.second else WEIGHTS


@dataclass
class _Log:
    """What a run leaves in its folder on the way, by the one process that keeps it: its history and its checkpoint."""

    config: TrainConfig
    folder: Path
    run: Run
    learner: Learner
    optimizer: torch.optim.Optimizer
    examples: Dataset[Example]
    device: str

    def __post_init__(self) -> None:
        self.held_out = [self.examples[index] for index in range(self.config.validation_skulls)]  # before any time is spent on steps

    def note(self, progress: Progress, *, stopping: bool) -> Progress:
        """Validate, where it is time to; write a row and save, where it is time to do that. Returns how far the run has come."""
        step = progress.step
        judged = step == self.config.last_step or step % self.config.validate_every == 0
        if judged:
            quality = validate(self.learner, self.held_out, LESSONS[self.config.task], self.config.settings, self.device)
            progress = Progress(step, progress.loss, quality, validated=True)
        noted = judged or step % CHECKPOINT_EVERY == 0
        if noted:
            append(self.folder / HISTORY, step, progress.loss, progress.quality if judged else None)
        if noted or stopping:  # after its row, which is dropped again if this does not come to pass
            save(self.folder / CHECKPOINT, self.run, self.learner, self.optimizer, progress)
        return progress


def check(config: TrainConfig, folder: Path, device: str, start: Path | None = None, first: Path | None = None) -> None:
    """CalvariaError BAD_OPTION where a run cannot be, as in `fit`, before any time is spent on it."""
    if config.optimizer.precision == "bf16" and not device.startswith("cuda"):
        raise bad_option("The configuration's precision, bf16, needs a GPU. Choose --device cuda, or fp32.")
    if not next(path for path in (folder, *folder.parents) if path.exists()).is_dir():
        raise bad_option(f"{folder} cannot be a folder: a file is in its place. Choose another --out.")
    training_examples(config, folder, first)
    LESSONS[config.task].check(config)
    if start:
        begun(config, start)
    state_of(folder / CHECKPOINT, _run_of(config, start, first), config.last_step)


def _run_of(config: TrainConfig, start: Path | None, first: Path | None) -> Run:
    lesson = LESSONS[config.task]
    return {
        "config": asdict(config.whole),
        "first": first_sha256(first),
        "cases": lesson.given.sha256(config),
        "generator": None if config.data.cases else lesson.made_by(config.data),
        "examples": EXAMPLES,
        "start": weights_sha256(start)[weights_of(config)] if start else None,
    }


def begun(config: TrainConfig, start: Path) -> dict[str, torch.Tensor]:
    """What a run that goes on from the weights in the folder `start` begins with.

    CalvariaError BAD_OPTION where they are of another task, or have more inputs or channels than the configuration, and as `load_weights`.
    """
    network, task, _ = load_weights(start / weights_of(config))
    if task.name != config.task:
        raise bad_option(f"The weights in {start} are for {task.name}, not {config.task}. Name others with --start.")
    return widened(network, config.network, config.seed)


def train_step(network: Learner, optimizer: torch.optim.Optimizer, batch: Batch, config: OptimizerConfig, device: str, team: Team) -> float:
    """One gradient step on a batch, or on this process's share of it; returns the loss there."""
    network.train()
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
        levels = network(batch.given, batch.wanted, features=batch.features)
        loss = pyramid_loss(levels, batch.had, batch.wanted, config.added_weight, config.overlap_weight, batch.values)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    team.average(network)
    if not torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0).isfinite():
        raise bad_option('A gradient is not finite: lower learning_rate in the configuration\'s [optimizer], or set precision = "fp32".')
    optimizer.step()
    return float(loss.detach())


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Linear warm-up, a tenth of a run that is shorter than it, then half a cosine to zero at the last step, or no decay; `step` counts
    from 1.
    """
    warmup = config.warmup if config.warmup < config.steps else config.steps // 10
    if step <= warmup:
        return config.learning_rate * step / warmup
    if not config.decay:
        return config.learning_rate
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def validate(network: Learner, examples: list[Example], lesson: Lesson, settings: Settings, device: str) -> float:
    """The mean of the lesson's measure, on the working grid, without finishing."""
    network.eval()
    scores: list[float] = []
    for one in examples:
        batch = Batch.of([one], settings, device)
        answer = network(batch.given, features=batch.features)[-1]
        scores.append(lesson.measure(one, answer.sites.spread(probability(answer))[0].cpu().numpy()))
    return sum(scores) / len(scores)


def _batches(examples: Dataset[Example], config: TrainConfig, done: int, team: Team, device: str) -> Iterator[list[Example]]:
    batch = config.optimizer.batch
    rest = Subset(_Told(examples), team.share(done * batch, config.last_step * batch))
    # One process beside this one keeps up with two cores of training; for a GPU there are more. Examples are the same anyway.
    workers = 1 if device == "cpu" else max(1, min(8, cores_each() - 1))
    loader = DataLoader(
        rest,
        batch_size=batch // team.size,
        collate_fn=list,
        num_workers=workers,
        prefetch_factor=8 if workers == 1 else 2,
        worker_init_fn=_begin_loader,
    )
    try:
        for told in loader:
            for one in told:
                if isinstance(one, CalvariaError):
                    raise one
            yield told
    except Exception as failure:  # without its frames: they would keep the loaders, for whose end this process waits at its own
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)  # noqa: B904 (whose causes have frames, too)


class _Told(Dataset[Example | CalvariaError]):
    """Examples, and why one cannot be made: what is raised in a loader's process arrives as text, without its code."""

    def __init__(self, examples: Dataset[Example]):
        self.examples = examples

    def __getitem__(self, index: int) -> Example | CalvariaError:
        try:
            return self.examples[index]
        except CalvariaError as refusal:
            return refusal


def _begin_loader(_: int) -> None:
    """Set up a loader: one thread. It ignores what stops a run, and ends with the process that trains, however that ends."""
    threadpool_limits(1)
    for number in SIGNALS:  # which may be sent to all processes at once
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
