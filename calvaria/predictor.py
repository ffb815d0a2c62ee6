"""Weights and a task: volumes in, volumes out."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.geometry import Field
from calvaria.inference import BUDGET_BYTES, Inference
from calvaria.labels import LabelMap, Part
from calvaria.networks import EncoderDecoder
from calvaria.tasks import Extras, Inferred, Prepared, Settings, Task
from calvaria.volume import BinaryVolume
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights

log = logging.getLogger(__name__)

__all__ = ["Asked", "Inferred", "Predictor", "Trained"]

MANY_CELLS = 2**12
"""Fewest cells at which threads pay. With fewer they wait for each other longer than they work side by side: eight of 32³ are looked at in
27 ms by one, and in 50 by two; four heads of 64³ or 128³, 20,000 cells and more, in 1,100 and 820 (two cores).
"""

MOST_SITES_OF_LABELS, MOST_CELLS_OF_LABELS = 2**23, 2**24
"""Sites, and cells of all working grids, of a map's labels together; there may be 63, each of them as large as a mask may be alone.

Twice as many as refinement takes for one: sixty organs, vertebrae and ribs of a body in 512 x 512 x 300 voxels have 3.6 and 7.2 million.
"""

Spread = Callable[..., Iterable[Any]]
"""What `map` is, and the `map` of a pool of threads: a function and what it is applied to."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network and what it was trained for."""

    network: EncoderDecoder
    settings: Settings


@dataclass(frozen=True, eq=False)
class Asked:
    """A question for the network, about a volume or a `part` of it that is answered singly."""

    prepared: Prepared
    part: Part | None = None


class Predictor:
    """Answers a task's question for volumes. The three verbs of a request, or `predict` for all of them at once."""

    def __init__(
        self,
        network: EncoderDecoder,
        task: Task,
        settings: Settings,
        device: str = "cpu",
        engine: str = "auto",
        second: Trained | None = None,
        budget_bytes: int = BUDGET_BYTES,
    ):
        """`second`: the network that looks closer, where the task has a second look.

        `budget_bytes`, and errors of `engine`: see `Inference`.
        """
        self.task = task
        self.settings = settings
        self.device = torch.device(device)
        self.first = Inference(network, settings.mirrored, device, engine, budget_bytes)
        self.second = Inference(second.network, second.settings.mirrored, device, engine, budget_bytes) if second else None
        self.closer = second.settings if second else None
        self.engine = self.first.computed_by

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", engine: str = "auto", budget_bytes: int = BUDGET_BYTES) -> "Predictor":
        """From a folder that holds `weights.safetensors`, as `calvaria train` writes it and models/<task>/ ships it.

        CalvariaError BAD_OPTION as `load_weights`, and where the second network beside them is of a task without a second look, or another.
        """
        network, task, settings = load_weights(Path(folder) / WEIGHTS)
        second = None
        if (Path(folder) / CLOSE_UP).exists():
            closer, closer_task, closer_settings = load_weights(Path(folder) / CLOSE_UP)
            if closer_task is not task or not task.look:
                raise bad_option(f"{Path(folder) / CLOSE_UP} holds no second network for {task.name}. Take it out of the folder.")
            second = Trained(closer, closer_settings)
        cells = " and ".join(f"{each.spacing_mm:g}" for each in (settings, second and second.settings) if each)
        made = cls(network, task, settings, device, engine, second, budget_bytes)
        precision = str(next(network.parameters()).dtype).removeprefix("torch.")
        chosen = task.name, made.device, made.engine, precision, network.config.channels, cells
        log.info("%s on %s, engine %s, %s: channels %s, %s mm cells", *chosen)
        return made

    @property
    def network(self) -> EncoderDecoder:
        return self.first.network

    def warm_up(self) -> None:
        """Answer for a ball with a hole, so that whatever happens only once has happened before the first volume comes."""
        x, y, z = np.meshgrid(*[np.arange(-48, 48)] * 3, indexing="ij")
        distance = np.sqrt(x**2 + y**2 + z**2)
        self.predict([BinaryVolume.on_grid((abs(distance - 40) < 4) & (x**2 + y**2 + (z - 40) ** 2 > 400), (2.0, 2.0, 2.0))])

    def ask(self, volume: BinaryVolume, extras: Extras = Extras()) -> list[Asked]:
        """What the network is asked about a volume: one question, or one for each label of a map where the task takes labels singly.

        Labels too small for the working grid are left out. CalvariaError as `prepare`, and TOO_LARGE for what all labels ask together.
        """
        margin_mm = self.task.label_margin_mm
        if margin_mm is None or not isinstance(volume, LabelMap) or not volume.occupied:
            return [Asked(self.prepare(volume, extras))]
        asked, refusal = [], None
        for part in volume.parts(margin_mm):
            image = None if extras.image is None else extras.image[part.box]
            try:
                asked.append(Asked(self.prepare(part.volume, replace(extras, image=image)), part))
            except CalvariaError as error:
                if error.code is not ErrorCode.EMPTY_MASK:
                    raise
                refusal = error
            _check_together([each.prepared for each in asked])
        if refusal and not asked:
            raise refusal
        return asked

    def answer(
        self, volume: BinaryVolume, asked: Sequence[Asked], inferred: Sequence[Inferred], settings: Settings | None = None
    ) -> dict[str, BinaryVolume]:
        """The task's outputs by name for a volume, from what the network says of each question; see `finish`."""
        outputs = [self.finish(each.prepared, answer, settings) for each, answer in zip(asked, inferred, strict=True)]
        if not isinstance(volume, LabelMap) or asked[0].part is None:
            return outputs[0]
        parts = [each.part for each in asked if each.part]
        return {
            name: volume.redrawn([replace(part, volume=found[name]) for part, found in zip(parts, outputs, strict=True)])
            for name in self.task.outputs
        }

    def prepare(self, volume: BinaryVolume, extras: Extras = Extras()) -> Prepared:
        """Lay the working grid over a volume. CalvariaError EMPTY_MASK, FULL_MASK, TOO_LARGE or, of the wanted grid, BAD_OPTION."""
        return self.task.prepare(volume, self.settings, extras)

    def infer(self, batch: Sequence[Prepared], each: Spread = map) -> list[Inferred]:
        """What the networks say of volumes of any sizes, in one call each for ordinary heads; but for rounding, each as it would be alone.

        `each`: how the work between the networks is done for several volumes, such as by threads, unless all are small.
        """
        guesses = self.guess(batch)
        fields = [one[0] if len(one) == 1 else one.mean(axis=0) for one in guesses]
        if self.second is None or self.closer is None or self.task.look is None:
            return [Inferred(field) for field in fields]
        if len(batch) == 1 or all(item.occupied_cells < MANY_CELLS for item in batch):
            each = map
        look, closer_settings = self.task.look, self.closer

        def looked(item: Prepared, guess: Field, field: Field) -> Inferred:
            try:
                return Inferred(field, look(item, guess, self.settings, closer_settings))
            except CalvariaError as refusal:  # of this volume; the others of its batch go on
                return Inferred(field, refusal=refusal)

        found = list(each(looked, batch, guesses, fields))
        closer = iter(self.second([one.closeup for one in found if one.closeup]))
        return [replace(one, closer=next(closer)) if one.closeup else one for one in found]

    def guess(self, batch: Sequence[Prepared]) -> list[Field]:
        """What the first network says of volumes, float32 [placements, x, y, z] on each one's working grid."""
        answers = iter(self.first([cells for item in batch for cells in item.placements]))
        return [item.brought_here([next(answers) for _ in item.placements]) for item in batch]

    def finish(self, prepared: Prepared, inferred: Inferred, settings: Settings | None = None) -> dict[str, BinaryVolume]:
        """The task's outputs by name, each on exactly the input's grid, or the finer one that was wanted.

        `settings`: other ones for this volume alone. CalvariaError where the second look refused the volume.
        """
        if inferred.refusal:
            raise inferred.refusal
        masks = self.task.finish(prepared, inferred, settings or self.settings)
        return {name: prepared.answered(mask) for name, mask in masks.items()}

    def predict(self, volumes: Sequence[BinaryVolume], extras: Extras = Extras()) -> list[dict[str, BinaryVolume]]:
        """All outputs for each volume. Bad volumes raise CalvariaError, several with a scan, which can belong to one alone, ValueError."""
        if extras.image is not None and len(volumes) > 1:
            raise ValueError(f"one scan comes with {len(volumes)} volumes")
        asked = [self.ask(volume, extras) for volume in volumes]
        inferred = iter(self.infer([each.prepared for questions in asked for each in questions]))
        return [
            self.answer(volume, questions, list(islice(inferred, len(questions)))) for volume, questions in zip(volumes, asked, strict=True)
        ]


def _check_together(labels: Sequence[Prepared]) -> None:
    sites, cells = sum(each.occupied_cells for each in labels), sum(each.sites.size for each in labels)
    if sites > MOST_SITES_OF_LABELS or cells > MOST_CELLS_OF_LABELS:
        most = f"{MOST_SITES_OF_LABELS:,} of {MOST_CELLS_OF_LABELS:,}"
        message = f"The surfaces of the labels span {sites:,} of {cells:,} cells together, and at most {most} are worked on."
        raise CalvariaError(ErrorCode.TOO_LARGE, f"{message} Send fewer labels at once.")
