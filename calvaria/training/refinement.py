"""Examples for refinement: masks of organs and other bodies with mistakes, and how full the cells around their surface really are."""

from pathlib import Path

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.synthetic.thorax import make_case
from calvaria.tasks import Settings
from calvaria.tasks.refinement import HALF, prepare
from calvaria.training.config import TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import Skulls
from calvaria.volume import BinaryVolume


class Mistaken:
    """A mask with mistakes of its own, of a chest's organ or of a body of no organ."""

    def __init__(self, seeds: range, settings: Settings):
        self.seeds, self.settings = seeds, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        case = make_case(int(rng.choice(self.seeds)))
        return mended_example(case.given, case.truth, self.settings)


def mended_example(given: BinaryVolume, truth: BinaryVolume, settings: Settings) -> Example:
    """Cells near the given mask's surface, and how full they are in truth."""
    prepared = prepare(given, settings)
    wanted = prepared.grid.coarsen(to_canonical(truth.mask, truth.affine).mask)
    wanted[~prepared.sites] = 0
    return Example(prepared.sites, prepared.sites & (prepared.shares > HALF), prepared.features, wanted)


def draw_refinement(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    """Chests and bodies have the seeds that skulls have in other tasks."""
    return Mistaken(skulls.seeds, config.settings)
