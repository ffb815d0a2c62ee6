"""Examples for refinement: masks of organs and other bodies with mistakes, and how full the cells around their surface really are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.synthetic.thorax.cases import draw_scene
from calvaria.tasks import Extras, Settings
from calvaria.tasks.refinement import INSIDE, prepare
from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import Source

IMAGED = 0.6
"""Share of the examples with which the scan comes."""

Masks = Callable[[np.random.Generator], RefinementCase]


@dataclass(frozen=True, eq=False)
class GeneratedMasks:
    """A mask of a chest's organ, or of a body of no organ, with its mistakes. Seeds are those that skulls have in other tasks."""

    seeds: range
    data: DataConfig

    def __call__(self, rng: np.random.Generator) -> RefinementCase:
        seed, imaged = int(rng.choice(self.seeds)), rng.random() < IMAGED
        if rng.random() < self.data.segmented:
            return segmented_case(seed, str(rng.choice(SEGMENTED)), imaged=imaged)
        return make_case(seed, bodies_share=self.data.bodies, imaged=imaged)


def generated_masks(config: TrainConfig, folder: Path, seeds: range, stretch: float) -> Source:
    """Bodies differ enough without being stretched, and nothing of them is kept in the run's folder."""
    return GeneratedMasks(seeds, config.data)


class Mistaken:
    """A mask with its mistakes, as an example."""

    def __init__(self, masks: Masks, settings: Settings):
        self.masks, self.settings = masks, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        return mended_example(self.masks(rng), self.settings)


def segmented_case(seed: int, organ: str, *, imaged: bool) -> RefinementCase:
    """The case of a seed in which the mistakes are the dense network's own."""
    scene = draw_scene(seed, organ, imaged=imaged)
    return RefinementCase(organ, segmented(seed, organ, scene.truth), scene.truth, scene.image)


def mended_example(case: RefinementCase, settings: Settings) -> Example:
    """Cells near the given mask's surface, and how full they are in truth."""
    prepared = prepare(case.given, settings, Extras(image=case.image))
    wanted = prepared.grid.coarsen(to_canonical(case.truth).mask)
    wanted[~prepared.sites] = 0
    return Example(prepared.sites, prepared.sites & (prepared.shares > INSIDE), prepared.features, wanted)


def draw_refinement(config: TrainConfig, masks: Masks, first: Path | None) -> Draw:
    return Mistaken(masks, config.settings)
