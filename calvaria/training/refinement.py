"""Examples for refinement: masks of organs and other bodies with mistakes, and how full the cells around their surface really are."""

from pathlib import Path

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.tasks import Extras, Settings
from calvaria.tasks.refinement import HALF, prepare
from calvaria.training.config import TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import Skulls

IMAGED = 0.6
"""Share of the examples with which the scan comes."""


class Mistaken:
    """A mask with mistakes of its own, of a chest's organ or of a body of no organ."""

    def __init__(self, seeds: range, settings: Settings):
        self.seeds, self.settings = seeds, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        case = make_case(int(rng.choice(self.seeds)), imaged=rng.random() < IMAGED)
        return mended_example(case, self.settings)


def mended_example(case: RefinementCase, settings: Settings) -> Example:
    """Cells near the given mask's surface, and how full they are in truth."""
    prepared = prepare(case.given, settings, Extras(image=case.image))
    wanted = prepared.grid.coarsen(to_canonical(case.truth.mask, case.truth.affine).mask)
    wanted[~prepared.sites] = 0
    return Example(prepared.sites, prepared.sites & (prepared.shares > HALF), prepared.features, wanted)


def draw_refinement(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    """Chests and bodies have the seeds that skulls have in other tasks."""
    return Mistaken(skulls.seeds, config.settings)
