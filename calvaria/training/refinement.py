"""Examples for refinement: masks of organs and other bodies with mistakes, and how full the cells around their surface really are."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.synthetic.thorax.cases import SOLID, draw_scene
from calvaria.tasks import Extras, Settings
from calvaria.tasks.refinement import HALF, prepare, thin
from calvaria.training.config import TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import GeneratedSkulls, Skulls
from calvaria.volume import BinaryVolume

IMAGED = 0.6
"""Share of the examples with which the scan comes."""


class Mistaken:
    """A mask with mistakes of its own, of a chest's organ or of a body of no organ."""

    def __init__(self, seeds: range, settings: Settings, segmented: float = 0.0):
        self.seeds, self.settings, self.segmented = seeds, settings, segmented

    def __call__(self, rng: np.random.Generator) -> Example:
        seed, imaged = int(rng.choice(self.seeds)), rng.random() < IMAGED
        if rng.random() < self.segmented:
            return mended_example(segmented_case(seed, str(rng.choice(SEGMENTED)), imaged=imaged), self.settings)
        return mended_example(make_case(seed, imaged=imaged), self.settings)


SCALE = 0.8, 3.5
"""How much larger than they are made bodies of no organ are seen: then they fill up to two litres."""

BODIES_IMAGED = 0.3


class MistakenBodies:
    """A mask with mistakes of its own, of a thick body of no organ, of any size."""

    def __init__(self, seeds: range, settings: Settings):
        self.seeds, self.settings = seeds, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        case = make_case(int(rng.choice(self.seeds)), SOLID, imaged=rng.random() < BODIES_IMAGED)
        scale = float(np.exp(rng.uniform(*np.log(SCALE))))
        given, truth = (BinaryVolume(each.mask, np.diag([scale, scale, scale, 1.0]) @ each.affine) for each in (case.given, case.truth))
        return mended_example(replace(case, given=given, truth=truth), self.settings, thick=True)


def segmented_case(seed: int, organ: str, *, imaged: bool) -> RefinementCase:
    """The case of a seed in which the mistakes are the dense network's own."""
    scene = draw_scene(seed, organ, imaged=imaged)
    return RefinementCase(organ, segmented(seed, organ, scene.truth), scene.truth, scene.image)


def mended_example(case: RefinementCase, settings: Settings, *, thick: bool = False) -> Example:
    """Cells near the given mask's surface, and how full they are in truth. CalvariaError for a thin mask where `thick` ones are wanted."""
    prepared = prepare(case.given, settings, Extras(image=case.image))
    if thick and thin(prepared):
        raise CalvariaError(ErrorCode.EMPTY_MASK, "what is thin all over is not redrawn, so nothing is learned from it")
    wanted = prepared.grid.coarsen(to_canonical(case.truth.mask, case.truth.affine).mask)
    wanted[~prepared.sites] = 0
    return Example(prepared.sites, prepared.sites & (prepared.shares > HALF), prepared.features, wanted)


def draw_refinement(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    """Chests and bodies have the seeds that skulls have in other tasks."""
    if not isinstance(skulls, GeneratedSkulls):
        raise CalvariaError(ErrorCode.BAD_OPTION, "Refinement learns from chests that are generated. Leave out --cases-from.")
    if config.data.general:
        return MistakenBodies(skulls.seeds, config.settings)
    return Mistaken(skulls.seeds, config.settings, config.data.segmented)
