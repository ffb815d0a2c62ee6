"""Fit a network: the paper's six-level loss, one configuration, resumable to the same result."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset, Subset

from calvaria.dense import DenseNetwork
from calvaria.networks import EncoderDecoder
from calvaria.synthetic.seeds import TRAINING, VALIDATION
from calvaria.tasks import TASKS, Settings
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import (
    Batch,
    CloseUpExamples,
    CompletionExamples,
    Example,
    KeptExamples,
    Maker,
    SkullStore,
    graded_example,
    occupancy_example,
)
from calvaria.training.loss import pyramid_loss
from calvaria.training.team import Team
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_weights

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 250
DENSE = "dense-twin.safetensors"
"""Weights of a dense twin, in a layout of their own: nothing serves them."""

Learner = EncoderDecoder | DenseNetwork


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `loss` is a running mean; `implant_dice` of the last validation, at working resolution."""

    step: int
    loss: float
    implant_dice: float


def fit(
    config: TrainConfig,
    folder: Path,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda _: None,
    start: Path | None = None,
    first: Path | None = None,
) -> Path:
    """Train, or go on where `folder` stopped, and write the weights there. Returns their path.

    A new run begins with the weights in the folder `start`, or with random ones. `first` is the folder of the first network, where the
    one to train is the second.
    The skulls must lie in the store already (`stores`). The same configuration gives the same weights on the same machine,
    interrupted or not. Under `torchrun` several processes share every batch; the first of them saves and reports.
    """
    team = Team.assemble(device)
    device = team.device(device)
    if config.optimizer.precision == "bf16" and not device.startswith("cuda"):
        raise ValueError("optimizer.precision bf16 needs a CUDA device")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = EncoderDecoder(config.network)
    name = CLOSE_UP if config.second else WEIGHTS
    if start:
        network.load_state_dict(load_weights(start / name)[0].state_dict())
    learner: Learner = DenseNetwork(network) if config.dense else network
    learner.to(device)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.0, weight_decay=config.optimizer.weight_decay, amsgrad=True)
    progress = _resume(folder / CHECKPOINT, config, learner, optimizer)
    examples = training_examples(config, folder, first)
    held_out = validation_examples(config, folder, first)
    validation = [held_out[index] for index in range(len(held_out))] if team.leads else []
    for step, batch in enumerate(_batches(examples, config, progress.step, team), start=progress.step + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.optimizer)
        loss = train_step(learner, optimizer, Batch.of(batch, config.settings, device), config.optimizer, device, team)
        mean = loss if math.isnan(progress.loss) else 0.97 * progress.loss + 0.03 * loss
        progress = Progress(step, mean, progress.implant_dice)
        if not team.leads:
            if step == config.until:
                break
            continue
        if step % config.validate_every == 0 or step == config.optimizer.steps:
            progress = Progress(step, mean, validate(learner, validation, config.settings, device))
        if step % CHECKPOINT_EVERY == 0 or step == config.optimizer.steps:
            _save(folder / CHECKPOINT, config, learner, optimizer, progress)
        report(progress)
        if step == config.until:
            break
    path = folder / (DENSE if config.dense else name)
    if team.leads and config.dense:
        save_file({name: tensor.contiguous() for name, tensor in learner.state_dict().items()}, path)
    elif team.leads:
        save_weights(path, network, TASKS[config.task], config.settings)
    return path


def train_step(network: Learner, optimizer: torch.optim.Optimizer, batch: Batch, config: OptimizerConfig, device: str, team: Team) -> float:
    """One gradient step on a batch, or on this process's share of it; returns the loss there."""
    network.train()
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
        levels = network(batch.given, batch.wanted, features=batch.features)
        loss = pyramid_loss(levels, batch.had, batch.wanted, config.added_weight, config.overlap_weight, batch.values)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    team.average(network)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
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
def validate(network: Learner, examples: list[Example], settings: Settings, device: str) -> float:
    """Mean Dice of the added cells against the missing ones, on the working grid, without finishing.

    A cell is missing where more than half of it is.
    """
    network.eval()
    scores: list[float] = []
    for one in examples:
        batch = Batch.of([one], settings, device)
        answer = network(batch.given, features=batch.features)[-1]
        said = answer.sites.spread(torch.sigmoid(answer.logits))[0].cpu().numpy()
        had = np.zeros_like(one.wanted)
        had[one.sites] = 1 if one.features is None else one.features[:, 0]
        added, missing = said - had > 0.5, one.wanted - had > 0.5
        scores.append(2 * int(np.count_nonzero(added & missing)) / max(1, int(np.count_nonzero(added) + np.count_nonzero(missing))))
    return sum(scores) / len(scores)


def store(config: TrainConfig, folder: Path) -> SkullStore:
    return SkullStore(folder.parent, config.settings.spacing_mm / config.data.finer)


def training_seeds(config: TrainConfig) -> range:
    return TRAINING[: config.data.skulls]


def validation_seeds(config: TrainConfig) -> range:
    return VALIDATION[: config.validation_skulls]


def training_examples(config: TrainConfig, folder: Path, first: Path | None = None) -> Dataset[Example]:
    count = config.optimizer.steps * config.optimizer.batch
    made = maker(config, first)
    examples = CompletionExamples(store(config, folder), training_seeds(config), config.settings, config.data, config.seed, count, made)
    return KeptExamples(examples, count, config.data.distinct, folder / "examples") if config.data.distinct else examples


def validation_examples(config: TrainConfig, folder: Path, first: Path | None = None) -> CompletionExamples:
    seeds = validation_seeds(config)
    as_served = DataConfig(config.data.skulls)
    return CompletionExamples(store(config, folder), seeds, config.settings, as_served, 0, len(seeds), maker(config, first))


def maker(config: TrainConfig, first: Path | None) -> Maker:
    """What makes the examples that this network learns from."""
    if config.second != bool(first):
        raise ValueError("a second network, and no other, is trained with the folder of a first one")
    if first:
        return CloseUpExamples(first)
    return graded_example if config.network.inputs else occupancy_example


def _batches(examples: Dataset[Example], config: TrainConfig, done: int, team: Team) -> Iterable[list[Example]]:
    batch = config.optimizer.batch
    rest = Subset(examples, team.share(done * batch, config.optimizer.steps * batch, batch))
    # One process beside this one keeps up with two cores of training.
    return DataLoader(
        rest,
        batch_size=batch // team.size,
        collate_fn=list,
        num_workers=1,
        prefetch_factor=8,
        worker_init_fn=lambda _: threadpool_limits(1) and None,
    )


def _save(path: Path, config: TrainConfig, network: Learner, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {"config": repr(config), "network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.rename(path)


def _resume(path: Path, config: TrainConfig, network: Learner, optimizer: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress(0, math.nan, math.nan)
    state = torch.load(path, weights_only=True)
    if state["config"] != repr(config):
        raise ValueError(f"{path} belongs to another configuration; choose another folder or remove it")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
