"""Fit a network: the paper's six-level loss, one configuration, resumable to the same result."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Subset

from calvaria.networks import EncoderDecoder
from calvaria.sparse import SiteSet
from calvaria.synthetic.seeds import TRAINING, VALIDATION
from calvaria.tasks import TASKS
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import CompletionExamples, Example, SkullStore, as_masks
from calvaria.training.loss import pyramid_loss
from calvaria.training.team import Team
from calvaria.weights import WEIGHTS, load_weights, save_weights

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 250


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `loss` is a running mean; `implant_dice` of the last validation, at working resolution."""

    step: int
    loss: float
    implant_dice: float


def fit(
    config: TrainConfig, folder: Path, device: str = "cpu", report: Callable[[Progress], None] = lambda _: None, start: Path | None = None
) -> Path:
    """Train, or go on where `folder` stopped, and write `weights.safetensors` there. Returns its path.

    A new run begins with the weights in the folder `start`, or with random ones.
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
    if start:
        network.load_state_dict(load_weights(start / WEIGHTS)[0].state_dict())
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=config.optimizer.weight_decay, amsgrad=True)
    progress = _resume(folder / CHECKPOINT, config, network, optimizer)
    examples = training_examples(config, folder)
    held_out = validation_examples(config, folder)
    validation = [held_out[index] for index in range(len(held_out))] if team.leads else []
    for step, batch in enumerate(_batches(examples, config, progress.step, team), start=progress.step + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.optimizer)
        loss = train_step(network, optimizer, batch, config.optimizer, device, team)
        mean = loss if math.isnan(progress.loss) else 0.97 * progress.loss + 0.03 * loss
        progress = Progress(step, mean, progress.implant_dice)
        if not team.leads:
            continue
        if step % config.validate_every == 0 or step == config.optimizer.steps:
            progress = Progress(step, mean, validate(network, validation, device))
        if step % CHECKPOINT_EVERY == 0 or step == config.optimizer.steps:
            _save(folder / CHECKPOINT, config, network, optimizer, progress)
        report(progress)
    path = folder / WEIGHTS
    if team.leads:
        save_weights(path, network, TASKS[config.task], config.settings)
    return path


def train_step(
    network: EncoderDecoder, optimizer: torch.optim.Optimizer, batch: list[Example], config: OptimizerConfig, device: str, team: Team
) -> float:
    """One gradient step on a batch, or on this process's share of it; returns the loss there."""
    network.train()
    given, wanted = (SiteSet.from_masks(masks).to(device) for masks in as_masks(batch))
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss = pyramid_loss(network(given, wanted), given, wanted, config.added_weight)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    team.average(network)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine to zero at the last step; `step` counts from 1."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def validate(network: EncoderDecoder, examples: list[Example], device: str) -> float:
    """Mean Dice of the added sites against the missing ones, on the working grid, without finishing."""
    network.eval()
    scores = []
    for one in examples:
        given, wanted = (SiteSet.from_masks(masks).to(device) for masks in as_masks([one]))
        answer = network(given)[-1].kept
        added, missing = answer.select(~given.holds(answer)), wanted.select(~given.holds(wanted))
        both = int(missing.holds(added).sum())
        scores.append(2 * both / max(1, len(added) + len(missing)))
    return sum(scores) / len(scores)


def store(config: TrainConfig, folder: Path) -> SkullStore:
    return SkullStore(folder.parent, config.settings.spacing_mm / config.data.finer)


def training_seeds(config: TrainConfig) -> range:
    return TRAINING[: config.data.skulls]


def validation_seeds(config: TrainConfig) -> range:
    return VALIDATION[: config.validation_skulls]


def training_examples(config: TrainConfig, folder: Path) -> CompletionExamples:
    count = config.optimizer.steps * config.optimizer.batch
    return CompletionExamples(store(config, folder), training_seeds(config), config.settings, config.data, config.seed, count)


def validation_examples(config: TrainConfig, folder: Path) -> CompletionExamples:
    seeds = validation_seeds(config)
    as_served = DataConfig(config.data.skulls)
    return CompletionExamples(store(config, folder), seeds, config.settings, as_served, seed=0, count=len(seeds))


def _batches(examples: CompletionExamples, config: TrainConfig, done: int, team: Team) -> Iterable[list[Example]]:
    batch = config.optimizer.batch
    rest = Subset(examples, team.share(done * batch, len(examples), batch))
    # One process beside this one keeps up with two cores of training.
    return DataLoader(
        rest,
        batch_size=batch // team.size,
        collate_fn=list,
        num_workers=1,
        prefetch_factor=8,
        worker_init_fn=lambda _: threadpool_limits(1) and None,
    )


def _save(path: Path, config: TrainConfig, network: EncoderDecoder, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {"config": repr(config), "network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.rename(path)


def _resume(path: Path, config: TrainConfig, network: EncoderDecoder, optimizer: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress(0, math.nan, math.nan)
    state = torch.load(path, weights_only=True)
    if state["config"] != repr(config):
        raise ValueError(f"{path} belongs to another configuration; choose another folder or remove it")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
