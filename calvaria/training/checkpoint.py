"""Where a run stands, on disk: what it goes on from, to the same result, and whether that is the same run."""

import math
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from calvaria.dense import DenseNetwork
from calvaria.errors import bad_option
from calvaria.files import write_file
from calvaria.networks import EncoderDecoder
from calvaria.training.config import TrainConfig

CHECKPOINT = "checkpoint.pt"

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


Run = dict[str, Any]
"""What a checkpoint belongs to: `config`, of the whole run, as a dictionary, the SHA-256 of the `first` network's weights, of those it
began with (`start`) and of `cases`, and the versions of the `generator` and of `examples`."""


def save(path: Path, run: Run, network: Learner, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {"run": run, "network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    content = BytesIO()
    torch.save(state, content)
    write_file(path, content.getvalue())


def state_of(path: Path, run: Run, last_step: int) -> dict[str, Any] | None:
    """What a checkpoint holds; None where there is none.

    CalvariaError BAD_OPTION where it belongs to another run, is past its end, or is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what the file holds instead
        raise bad_option(f"{path} is damaged ({error}). Choose another folder, or delete it to begin anew.") from error
    if not _same(state.get("run"), run):
        raise bad_option(
            f"{path} belongs to another configuration, start, first network, folder of cases, generator or version of examples. "
            "Choose another folder.",
        )
    if state["progress"]["step"] > last_step:
        raise bad_option(f"{path} is past step {last_step}, where this run ends. Choose another folder.")
    return state


def resume(path: Path, run: Run, last_step: int, network: Learner, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a run back where its checkpoint was made; errors as of `state_of`."""
    state = state_of(path, run, last_step)
    if state is None:
        return Progress(0, math.nan, math.nan)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def _same(stored: Run | None, run: Run) -> bool:
    """Whether a stored run is this one; what its configuration does not name, since it is newer, has its default there."""
    newer = ("generator", "start", "examples")
    named = ("first", "cases", *(name for name in newer if name in (stored or ())))
    if stored is None or any(stored.get(name) != run[name] for name in named):
        return False
    try:
        return TrainConfig.of(stored["config"], "stored") == TrainConfig.of(run["config"], "given")
    except ValueError:  # it names what no longer is
        return False
