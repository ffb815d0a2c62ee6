"""Examples for refinement: masks of organs and other bodies with mistakes, and how full the cells around their surface really are."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.synthetic.thorax.cases import draw_dice, draw_scene
from calvaria.synthetic.thorax.mistakes import mistaken
from calvaria.tasks import Extras, Settings
from calvaria.tasks.refinement import INSIDE, prepare
from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import GeneratedSkulls, Source

IMAGED = 0.6
"""Share of the examples with which the scan comes."""


class Mistaken:
    """A mask with mistakes of its own, of a chest's organ or of a body of no organ."""

    def __init__(self, seeds: range, settings: Settings, data: DataConfig):
        self.seeds, self.settings, self.data = seeds, settings, data

    def __call__(self, rng: np.random.Generator) -> Example:
        seed, imaged = int(rng.choice(self.seeds)), rng.random() < IMAGED
        if rng.random() < self.data.segmented:
            return mended_example(segmented_case(seed, str(rng.choice(SEGMENTED)), imaged=imaged), self.settings)
        return mended_example(make_case(seed, bodies_share=self.data.bodies, imaged=imaged), self.settings)


class GivenMistaken:
    """A mask of the users' own, with its mistakes; where it came right, with new ones."""

    def __init__(self, source: Source, settings: Settings):
        self.source, self.settings = source, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        case: RefinementCase = self.source(rng)
        truth = case.truth
        if case.given is truth:
            case = replace(case, given=truth.like(mistaken(truth.mask, truth.spacing_mm, rng, draw_dice(rng))))
        return mended_example(case if rng.random() < IMAGED else replace(case, image=None), self.settings)


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


def draw_refinement(config: TrainConfig, source: Source, first: Path | None) -> Draw:
    """Chests and bodies have the seeds that skulls have in other tasks."""
    if isinstance(source, GeneratedSkulls):
        return Mistaken(source.seeds, config.settings, config.data)
    return GivenMistaken(source, config.settings)
