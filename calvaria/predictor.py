"""Weights and a task: volumes in, volumes out."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Field
from calvaria.minkowski import MinkowskiNetwork
from calvaria.networks import EncoderDecoder, Level
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.sparse.engines import NAMES, choose
from calvaria.tasks import Prepared, Settings, Task
from calvaria.tasks.task import MOST_CELLS, MOST_SITES, prepare
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, load_weights

log = logging.getLogger(__name__)

MINKOWSKI = "minkowski"
ENGINES = (*NAMES, MINKOWSKI)
"""What may compute the network: the library's own engines by name, or the whole network on MinkowskiEngine."""

Inferred = Field
"""What the network says of one volume: float32 [x, y, z] on its working grid, the probability that a cell belongs to the answer."""


class Predictor:
    """Answers a task's question for volumes. The three verbs of a request, or `predict` for all of them at once."""

    def __init__(self, network: EncoderDecoder, task: Task, settings: Settings, device: str = "cpu", engine: str = "auto"):
        """`engine`: one of ENGINES; CalvariaError BAD_OPTION for another, or one that cannot run here."""
        if engine not in ENGINES:
            raise CalvariaError(ErrorCode.BAD_OPTION, f"There is no engine {engine!r}. Choose one of: {', '.join(ENGINES)}.")
        self.network = network.eval().requires_grad_(False).to(device)
        self.task = task
        self.settings = settings
        self.device = torch.device(device)
        self.engine = choose("auto" if engine == MINKOWSKI else engine, self.device.type)
        self.decide: Callable[[SiteSet], list[Level]] = MinkowskiNetwork(self.network) if engine == MINKOWSKI else Plan(self.network)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", engine: str = "auto") -> "Predictor":
        """From a folder that holds `weights.safetensors`, as `calvaria train` writes it and models/<task>/ ships it."""
        network, task, settings = load_weights(Path(folder) / WEIGHTS)
        log.info("%s on %s, engine %s: channels %s, %g mm cells", task.name, device, engine, network.config.channels, settings.spacing_mm)
        return cls(network, task, settings, device, engine)

    def prepare(self, volume: BinaryVolume) -> Prepared:
        """Lay the working grid over a volume. CalvariaError EMPTY_MASK, FULL_MASK or TOO_LARGE; see `calvaria.tasks.task.prepare`."""
        return prepare(volume, self.settings)

    def infer(self, batch: Sequence[Prepared]) -> list[Inferred]:
        """What the network says of volumes of any sizes, in one call for ordinary heads; each answer is what it would be alone."""
        return [answer for shared in _calls(batch) for answer in self._call(shared)]

    def _call(self, batch: Sequence[Prepared]) -> list[Inferred]:
        masks = [torch.from_numpy(item.sites) for item in batch]
        if self.settings.mirrored:
            masks += [mask.flip(0) for mask in masks]
        with torch.inference_mode():
            sites = SiteSet.from_masks(masks, self.engine if self.device.type == "cpu" else "auto").to(self.device, self.engine)
            answer = self.decide(sites)[-1]
            fields = [field.cpu().numpy() for field in answer.sites.spread(_probability(answer))]
        if self.settings.mirrored:
            fields = [(seen + mirrored[::-1]) / 2 for seen, mirrored in zip(fields[: len(batch)], fields[len(batch) :], strict=True)]
        return fields

    def finish(self, prepared: Prepared, inferred: Inferred, settings: Settings | None = None) -> dict[str, BinaryVolume]:
        """The task's outputs by name, each on exactly the input's grid. `settings`: other ones for this volume alone."""
        masks = self.task.finish(prepared, inferred, settings or self.settings)
        return {name: prepared.volume.like(prepared.canonical.from_canonical(mask)) for name, mask in masks.items()}

    def predict(self, volumes: Sequence[BinaryVolume]) -> list[dict[str, BinaryVolume]]:
        """All outputs for each volume. Bad volumes raise CalvariaError."""
        batch = [self.prepare(volume) for volume in volumes]
        return [self.finish(item, answer) for item, answer in zip(batch, self.infer(batch), strict=True)]


def _calls(batch: Sequence[Prepared]) -> list[list[Prepared]]:
    """A batch in as few network calls, in order, as keep each within what the largest single volume may take."""
    calls: list[list[Prepared]] = []
    for item in batch:
        if calls and _fits([*calls[-1], item]):
            calls[-1].append(item)
        else:
            calls.append([item])
    return calls


def _fits(batch: Sequence[Prepared]) -> bool:
    """Whether a batch is within a call's cells (its items share one grid, as large along each axis as the largest) and sites."""
    shared = np.max([item.grid.shape for item in batch], axis=0)
    return len(batch) * int(shared.prod()) <= MOST_CELLS and sum(item.occupied_cells for item in batch) <= MOST_SITES


def _probability(answer: Level) -> torch.Tensor:
    """Of each candidate site [N]; 0 where the bound on generation dropped it."""
    return torch.sigmoid(answer.logits).masked_fill((answer.logits > 0) & ~answer.keep, 0.0)
