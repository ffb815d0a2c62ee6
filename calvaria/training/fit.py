"""Fit a network: the paper's six-level loss, one configuration, resumable to the same result."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset, Subset

from calvaria.cores import cores, threads_each
from calvaria.dense import DenseNetwork
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.networks import EncoderDecoder
from calvaria.synthetic.seeds import GENERATOR, TRAINING, VALIDATION
from calvaria.tasks import TASKS, Settings
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import EXAMPLES, Batch, Draw, Example, Examples, KeptExamples
from calvaria.training.given import GivenSkulls, cases_sha256, given_cases
from calvaria.training.history import HISTORY, append, cut_back
from calvaria.training.lessons import LESSONS, Lesson
from calvaria.training.loss import pyramid_loss
from calvaria.training.skulls import GeneratedSkulls, Skulls, SkullStore
from calvaria.training.team import Team, check_share
from calvaria.training.widening import widened
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_weights, weights_sha256

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 250
DENSE = "dense-twin.safetensors"
"""Weights of a dense twin, in a layout of their own: nothing serves them."""

Learner = EncoderDecoder | DenseNetwork


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `loss` is a running mean; `quality` that of the last validation, as the task's lesson measures it.

    `validated` says whether that was at this very step.
    """

    step: int
    loss: float
    quality: float
    validated: bool = False


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
    CalvariaError BAD_OPTION where the folder holds another run, or `first` and the configuration do not fit; RuntimeError where a
    gradient is not finite, rather than weights that are not.
    """
    check_share(config.optimizer.batch)
    team = Team.assemble(device)
    device = team.device(device)
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device).index or 0)  # kernels are started more quickly on the current one
    if config.optimizer.precision == "bf16" and not device.startswith("cuda"):
        raise CalvariaError(ErrorCode.BAD_OPTION, "The configuration's precision, bf16, needs a GPU. Choose --device cuda, or fp32.")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = EncoderDecoder(config.network)
    name = CLOSE_UP if config.second else WEIGHTS
    if start:
        network.load_state_dict(begun(config, start))
    learner: Learner = DenseNetwork(network) if config.dense else network
    learner.to(device)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.0, weight_decay=config.optimizer.weight_decay, amsgrad=True)
    examples = training_examples(config, folder, first)
    run: Run = {"config": asdict(config.whole), "first": first_sha256(first), "cases": cases_sha256(config)}
    run |= {"generator": None if config.data.cases else GENERATOR, "start": weights_sha256(start)[name] if start else None}
    progress = _resume(folder / CHECKPOINT, run, config.last_step, learner, optimizer)
    held_out = validation_examples(config, folder, first)
    validation = [held_out[index] for index in range(len(held_out))] if team.leads else []
    if team.leads:
        cut_back(folder / HISTORY, progress.step)
    for step, batch in enumerate(_batches(examples, config, progress.step, team, device), start=progress.step + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.optimizer)
        loss = train_step(learner, optimizer, Batch.of(batch, config.settings, device), config.optimizer, device, team)
        mean = loss if math.isnan(progress.loss) else 0.97 * progress.loss + 0.03 * loss
        progress = Progress(step, mean, progress.quality)
        if not team.leads:
            continue
        saved = step % CHECKPOINT_EVERY == 0 or step == config.last_step
        if step % config.validate_every == 0 or step == config.last_step:
            quality = validate(learner, validation, LESSONS[config.task], config.settings, device)
            progress = Progress(step, mean, quality, validated=True)
        if progress.validated or saved:
            append(folder / HISTORY, step, mean, progress.quality if progress.validated else None)
        if saved:  # after its row, which is dropped again if this does not come to pass
            _save(folder / CHECKPOINT, run, learner, optimizer, progress)
        report(progress)
    path = folder / (DENSE if config.dense else name)
    if team.leads and config.dense:
        save_file({name: tensor.contiguous() for name, tensor in learner.state_dict().items()}, path)
    elif team.leads:
        save_weights(path, network, TASKS[config.task], config.settings)
    return path


def begun(config: TrainConfig, start: Path) -> dict[str, torch.Tensor]:
    """What a run that goes on from the weights in the folder `start` begins with.

    CalvariaError BAD_OPTION where they are of another task, or have more inputs or channels than the configuration, and as `load_weights`.
    """
    network, task, _ = load_weights(start / (CLOSE_UP if config.second else WEIGHTS))
    if task.name != config.task:
        raise CalvariaError(
            ErrorCode.BAD_OPTION, f"The weights in {start} are for {task.name}, not {config.task}. Name others with --start."
        )
    return widened(network.state_dict(), config.network, config.seed)


def train_step(network: Learner, optimizer: torch.optim.Optimizer, batch: Batch, config: OptimizerConfig, device: str, team: Team) -> float:
    """One gradient step on a batch, or on this process's share of it; returns the loss there."""
    network.train()
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
        levels = network(batch.given, batch.wanted, features=batch.features)
        loss = pyramid_loss(levels, batch.had, batch.wanted, config.added_weight, config.overlap_weight, batch.values)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    team.average(network)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=True)
    optimizer.step()
    return float(loss.detach())


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine to zero at the last step, or no decay; `step` counts from 1."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    if not config.decay:
        return config.learning_rate
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def validate(network: Learner, examples: list[Example], lesson: Lesson, settings: Settings, device: str) -> float:
    """The mean of the lesson's measure, on the working grid, without finishing."""
    network.eval()
    scores: list[float] = []
    for one in examples:
        batch = Batch.of([one], settings, device)
        answer = network(batch.given, features=batch.features)[-1]
        scores.append(lesson.measure(one, answer.sites.spread(torch.sigmoid(answer.logits))[0].cpu().numpy()))
    return sum(scores) / len(scores)


def store(config: TrainConfig, folder: Path) -> SkullStore:
    """CalvariaError BAD_OPTION where the configuration does not say how fine the skulls are."""
    if not config.settings.spacing_mm:
        raise CalvariaError(ErrorCode.BAD_OPTION, "Cells as wide as a volume's voxels (spacing_mm = 0) need volumes: name --cases-from.")
    return SkullStore(folder.parent, config.settings.spacing_mm / config.data.finer)


def training_seeds(config: TrainConfig) -> range:
    return TRAINING[: config.data.skulls]


def validation_seeds(config: TrainConfig) -> range:
    return VALIDATION[: config.validation_skulls]


def training_examples(config: TrainConfig, folder: Path, first: Path | None = None) -> Dataset[Example]:
    count = config.optimizer.steps * config.optimizer.batch
    examples = Examples(draw(config, training_skulls(config, folder), first), config.seed, count)
    if not config.data.distinct:
        return examples
    return KeptExamples(examples, count, config.data.distinct, folder / _examples_name(config, first), config.data.mirrored)


def _examples_name(config: TrainConfig, first: Path | None) -> str:
    """Another for examples that would differ, so that none of an earlier run in the same folder is taken for this one's."""
    made_by = (GENERATOR, EXAMPLES, config.seed, config.settings, config.data, config.network.inputs, first_sha256(first))
    given = (cases_sha256(config),) if config.data.cases else ()
    return f"examples-{sha256(repr(made_by + given).encode()).hexdigest()[:12]}"


def first_sha256(first: Path | None) -> str | None:
    """Of the first network's weights; None without one."""
    return weights_sha256(first)[WEIGHTS] if first else None


def validation_examples(config: TrainConfig, folder: Path, first: Path | None = None) -> Examples:
    """As they are when served: of every kind, or as they came, none intact, none stretched."""
    as_served = replace(config, data=DataConfig(config.data.skulls, config.data.finer))
    return Examples(draw(as_served, validation_skulls(config, folder), first), 0, config.validation_skulls)


def training_skulls(config: TrainConfig, folder: Path) -> Skulls:
    if config.data.cases:
        return GivenSkulls(given_cases(config)[0], config.data.stretch, config.data.anew)
    return GeneratedSkulls(store(config, folder), training_seeds(config), config.data.stretch)


def validation_skulls(config: TrainConfig, folder: Path) -> Skulls:
    if config.data.cases:
        return GivenSkulls(given_cases(config)[1], stretch=0.0, anew=0.0)
    return GeneratedSkulls(store(config, folder), validation_seeds(config), stretch=0.0)


def draw(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    """What draws the examples that this network learns from. CalvariaError BAD_OPTION unless a second network has its first."""
    if config.second != bool(first):
        message = "A second network, and no other, is trained with the folder of a first one. Name it with --first, or leave that out."
        raise CalvariaError(ErrorCode.BAD_OPTION, message)
    if config.second and not config.settings.spacing_mm:
        raise CalvariaError(ErrorCode.BAD_OPTION, "A second look has cells of its own: spacing_mm cannot be 0.")
    if config.second and not LESSONS[config.task].second:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"{config.task} has no second network: set second = false.")
    return LESSONS[config.task].draw(config, skulls, first)


def _batches(examples: Dataset[Example], config: TrainConfig, done: int, team: Team, device: str) -> Iterable[list[Example]]:
    batch = config.optimizer.batch
    rest = Subset(examples, team.share(done * batch, config.last_step * batch))
    # One process beside this one keeps up with two cores of training; for a GPU there are more. Examples are the same anyway.
    beside = threads_each(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), cores()) - 1
    workers = 1 if device == "cpu" else max(1, min(8, beside))
    return DataLoader(
        rest,
        batch_size=batch // team.size,
        collate_fn=list,
        num_workers=workers,
        prefetch_factor=8 if workers == 1 else 2,
        worker_init_fn=_one_thread,
    )


def _one_thread(_: int) -> None:
    threadpool_limits(1)


Run = dict[str, Any]
"""What a checkpoint belongs to: `config`, of the whole run, as a dictionary, the SHA-256 of the `first` network's weights, of those it
began with (`start`) and of `cases`, and the `generator`'s version."""


def _save(path: Path, run: Run, network: Learner, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {"run": run, "network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.rename(path)


def _resume(path: Path, run: Run, last_step: int, network: Learner, optimizer: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress(0, math.nan, math.nan)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not _same(state.get("run"), run):
        raise CalvariaError(
            ErrorCode.BAD_OPTION,
            f"{path} belongs to another configuration, start, first network, folder of cases or generator. Choose another folder.",
        )
    if state["progress"]["step"] > last_step:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"{path} is past step {last_step}, where this run ends. Choose another folder.")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def _same(stored: Run | None, run: Run) -> bool:
    """Whether a stored run is this one; what its configuration does not name, since it is newer, has its default there."""
    named = ("first", "cases", *(name for name in ("generator", "start") if name in (stored or ())))  # older ones do not name the last two
    if stored is None or any(stored.get(name) != run[name] for name in named):
        return False
    try:
        return TrainConfig.of(stored["config"], "stored") == TrainConfig.of(run["config"], "given")
    except ValueError:  # it names what no longer is
        return False
