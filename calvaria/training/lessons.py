"""What each task's network learns from, and how well it does: a row for each task."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.geometry import Field
from calvaria.segmenter import segmented_by
from calvaria.synthetic.seeds import CHESTS, GENERATOR
from calvaria.tasks import Settings, closeup, completion, refinement, super_resolution
from calvaria.tasks.task import check_mask
from calvaria.training.completion import CHANGES, draw_completion
from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.given import GIVEN_MASKS, GIVEN_SKULLS, OwnCases
from calvaria.training.refinement import draw_refinement, generated_masks
from calvaria.training.skulls import Source, generated_skulls
from calvaria.training.super_resolution import draw_super_resolution
from calvaria.volume import BinaryVolume


@dataclass(frozen=True)
class Lesson:
    """How a task's network learns.

    draw      (configuration, source, folder of the first network) -> how examples are drawn
    measure   (example, what the network says of each cell [x, y, z]) -> how good that is, at most 1
    measured  what that is called
    inputs    numbers that may come with every site of its network, or its first
    second    those of its second network, which learns from the first's answers; 0: it has none
    reads     what of `DataConfig` it heeds, beside what every task does
    mirrorable  whether left may be taken for right: heads may be mirrored, hearts lie on the left
    generated (configuration, folder of the run, seeds, how far each axis is stretched at most) -> what draws what it learns from; by
              default skulls, which are made beforehand
    made_by   (data) -> version of what is generated to learn from, so that no other's is taken for it
    given     how it learns from a folder of the users' own
    learnable (given, truth, settings) -> CalvariaError where nothing can be learned from such a case
    """

    draw: Callable[[TrainConfig, Source, Path | None], Draw]
    measure: Callable[[Example, Field], float]
    measured: str
    inputs: tuple[int, ...]
    reads: frozenset[str]
    second: int = 0
    mirrorable: bool = True
    generated: Callable[[TrainConfig, Path, range, float], Source] = generated_skulls
    made_by: Callable[[DataConfig], object] = lambda data: GENERATOR
    given: OwnCases = GIVEN_SKULLS
    learnable: Callable[[BinaryVolume, BinaryVolume, Settings], object] = lambda given, truth, settings: None

    def check(self, config: TrainConfig) -> None:
        """CalvariaError BAD_OPTION where the network has other inputs than the task's, is to be asked about mirror images that the task
        knows nothing of, or where `data` says what the task does not heed.
        """
        inputs = (self.second,) if config.second else self.inputs
        if config.network.inputs not in inputs:
            said = " or ".join(map(str, inputs))
            raise bad_option(f"This network of {config.task} has {said} inputs, not {config.network.inputs}. Change inputs in [network].")
        if config.settings.mirrored and not self.mirrorable:
            raise bad_option(f"{config.task} tells left from right: leave mirrored out of [settings].")
        changed = (field.name for field in fields(DataConfig) if getattr(config.data, field.name) != field.default)
        if unread := [name for name in changed if name not in self.reads | READ_BY_ALL]:
            raise bad_option(f"{config.task} does not heed {', '.join(unread)}. Leave that out of [data].")


READ_BY_ALL = frozenset({"skulls", "finer", "stretch", "distinct", "cases"})
"""What of `DataConfig` every task heeds; how far to stretch, refinement only where masks are the users' own."""


def added_dice(example: Example, said: Field) -> float:
    """Dice of the added cells against the missing ones; 1 where there are neither.

    A cell is added, or missing, where more than half of it is.
    """
    had = given(example)
    added, missing = said - had > 0.5, example.wanted - had > 0.5
    total = np.count_nonzero(added) + np.count_nonzero(missing)
    return float(2 * np.count_nonzero(added & missing) / total) if total else 1.0


def mended(example: Example, said: Field) -> float:
    """The share of the error that is mended: 1 where nothing is wrong any more, 0 where as much is wrong as before; -1 at the least."""
    before, after = (float(abs(field - example.wanted)[example.sites].sum()) for field in (given(example), said))
    return max(1 - after / max(before, 1.0), -1.0)


def given(example: Example) -> Field:
    """How full each cell is in the input, float32 [x, y, z]."""
    field = np.zeros_like(example.wanted)
    field[example.sites] = 1 if example.features is None else example.features[:, 0]
    return field


def _mistakes_by(data: DataConfig) -> tuple[int, str | None]:
    """Version of the chests and, where mistakes are the dense network's, its weights."""
    return CHESTS, segmented_by() if data.segmented else None


def _mask_and_truth(given: BinaryVolume, truth: BinaryVolume, settings: Settings) -> None:
    if not truth.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The right mask is empty.")
    refinement.prepare(given, settings)


LESSONS = {
    "completion": Lesson(
        draw_completion,
        added_dice,
        "implant DSC",
        inputs=(0, 1),
        reads=frozenset({"intact", "without", "often", "anew", *CHANGES}),
        second=closeup.INPUTS,
        learnable=lambda given, truth, settings: completion.prepare(given, settings),
    ),
    "super-resolution": Lesson(
        draw_super_resolution,
        mended,
        "error mended",
        inputs=(super_resolution.INPUTS,),
        reads=frozenset(),
        learnable=lambda given, truth, settings: check_mask(given, super_resolution.SKULL),
    ),
    "refinement": Lesson(
        draw_refinement,
        mended,
        "error mended",
        inputs=(refinement.INPUTS,),
        reads=frozenset({"segmented", "bodies", "anew"}),
        mirrorable=False,
        generated=generated_masks,
        made_by=_mistakes_by,
        given=GIVEN_MASKS,
        learnable=_mask_and_truth,
    ),
}
"""Every task that can be learned. One that has no row here is served all the same."""
