"""Examples for completion: skulls with a defect of their own each, as the first network sees them, or the second."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.predictor import Predictor
from calvaria.synthetic import DEFECT_KINDS, cleave, cut_defect, mould, perforate, pneumatise, symmetrise
from calvaria.tasks import Settings
from calvaria.tasks.completion import look, prepare
from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import Head, Skulls
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, load_weights

MOST_SITES = 2**17
"""Of an example for a second look, so that a batch fits into memory; where the first network finds more, another defect is drawn."""

CHANGES = {"symmetric": symmetrise, "mould": mould, "sinuses": pneumatise, "openings": perforate, "cleft": cleave}
"""What may be done to a skull before it is cut, in this order, by the name of its share in `DataConfig`."""

Maker = Callable[[BinaryVolume, BinaryVolume, Settings], Example]
"""(defective, whole, settings) -> an example; CalvariaError where it leaves nothing to see."""


class Defective:
    """A skull, intact, with the defect it came with, or with a new one, as an example."""

    def __init__(self, skulls: Skulls, settings: Settings, data: DataConfig, make: Maker):
        self.skulls, self.settings, self.data, self.make = skulls, settings, data, make
        self.kinds = tuple(kind for kind in (*DEFECT_KINDS, *data.often) if kind not in data.without)

    def __call__(self, rng: np.random.Generator) -> Example:
        head = self.skulls(rng)
        for name, change in CHANGES.items():
            share = getattr(self.data, name)  # where there is none, no chance is taken, so that a run without any stays the run it was
            if head.defective is None and share and share > rng.random():
                head = Head(change(head.whole, int(rng.integers(2**31))))
        defect_seed = int(rng.integers(2**31))
        if self.data.intact > rng.random():
            defective = head.whole
        else:
            defective = head.defective or cut_defect(head.whole, defect_seed, *self.kinds).defective
        return self.make(defective, head.whole, self.settings)


def draw_completion(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    """`first`: the folder of a first network, where the one that learns is the second."""
    make = CloseUpMaker(first) if first else graded_example if config.network.inputs else occupancy_example
    return Defective(skulls, config.settings, config.data, make)


def occupancy_example(defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
    """Cells are given and wanted full or empty, as in the paper, on the working grid that the defective skull gets when served."""
    prepared = prepare(defective, settings)
    wanted = prepared.grid.coarsen(to_canonical(whole).mask) > settings.occupied_share
    return Example(prepared.sites, prepared.sites, None, np.float32(1) * (wanted | prepared.sites))


def graded_example(defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
    """Cells are given and wanted with how full they are."""
    prepared = prepare(defective, settings)
    wanted = prepared.grid.coarsen(to_canonical(whole).mask)
    return Example(prepared.sites, prepared.sites, prepared.features, np.maximum(wanted, prepared.shares))


class CloseUpMaker:
    """Makes examples for a second look from what a first network, in the folder `first`, says of defective skulls."""

    def __init__(self, first: Path):
        self.first = first

    @cached_property
    def predictor(self) -> Predictor:
        """The first network alone, whatever second one its folder may hold already."""
        return Predictor(*load_weights(self.first / WEIGHTS))

    def __call__(self, defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
        prepared = self.predictor.prepare(defective)
        closeup = look(prepared, self.predictor.guess([prepared])[0], self.predictor.settings, settings)
        if closeup is None or closeup.occupied_cells > MOST_SITES:
            raise CalvariaError(ErrorCode.EMPTY_MASK, "the first network found nothing to look at, or too much")
        wanted = closeup.grid.coarsen(to_canonical(whole).mask[closeup.box])
        had = closeup.sites & (closeup.shares > settings.occupied_share)
        return Example(closeup.sites, had, closeup.features, np.where(closeup.sites, np.maximum(wanted, closeup.shares), np.float32(0)))
