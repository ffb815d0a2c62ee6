"""Examples for completion: generated skulls, kept on disk, with a new defect cut for every example.

An example is a pure function of the run's seed and the example's number, so a resumed run sees what an uninterrupted one would.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Field, to_canonical
from calvaria.inference import mirror_image
from calvaria.predictor import Predictor
from calvaria.sparse import SiteSet
from calvaria.synthetic import DEFECT_KINDS, cut_defect, make_skull
from calvaria.synthetic.seeds import GENERATOR
from calvaria.tasks import Settings
from calvaria.tasks.completion import prepare
from calvaria.training.config import DataConfig
from calvaria.volume import BinaryVolume, Mask
from calvaria.weights import WEIGHTS, load_weights

MOST_SITES = 2**17
"""Of an example for a second look, so that a batch fits into memory; where the first network finds more, another defect is drawn."""

TRIES = 20
"""Draws for one example. A defect may leave nothing to see; settings under which every one does are a mistake."""


@dataclass(frozen=True, eq=False)
class Example:
    """What a network is given and what it should answer, on one working grid.

    sites     bool [x, y, z]: the sites that the network is given
    had       bool [x, y, z]: those that belong to the answer anyway
    features  float32 [N, inputs]: what comes with each of them, in raster order; None where sites are all there is
    wanted    float32 [x, y, z]: how much of each cell belongs to the answer; 0 or 1 where sites are all there is
    """

    sites: Mask
    had: Mask
    features: Field | None
    wanted: Field


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as the network takes them; `values` [N] belong to the sites of `wanted`."""

    given: SiteSet
    had: SiteSet
    features: torch.Tensor | None
    wanted: SiteSet
    values: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], settings: Settings, device: str) -> "Batch":
        """A cell is a site of the answer where more than the settings' share of it is wanted."""
        wanted = [example.wanted > settings.occupied_share for example in examples]
        values = np.concatenate([example.wanted[kept] for example, kept in zip(examples, wanted, strict=True)])
        features = [example.features for example in examples if example.features is not None]

        def sites(masks: Iterable[Mask]) -> SiteSet:
            return SiteSet.from_masks([torch.from_numpy(mask) for mask in masks]).to(device)

        return cls(
            sites(example.sites for example in examples),
            sites(example.had for example in examples),
            torch.from_numpy(np.concatenate(features)).to(device) if features else None,
            sites(wanted),
            torch.from_numpy(values).to(device),
        )


class SkullStore:
    """Generated skulls by seed, as packed bits in a folder, so that a run pays for each once."""

    def __init__(self, folder: Path, spacing_mm: float):
        self.folder = Path(folder) / f"skulls-{GENERATOR}-{spacing_mm:g}mm"
        self.spacing_mm = spacing_mm

    def make(self, seeds: Sequence[int], workers: int) -> Iterator[int]:
        """Generate what is missing, yielding each seed as it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [seed for seed in seeds if not self._path(seed).exists()]
        yield from (seed for seed in seeds if seed not in set(missing))
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(self._make, missing)

    def load(self, seed: int) -> BinaryVolume:
        with np.load(self._path(seed)) as stored:
            shape = tuple(stored["shape"])
            bits = np.unpackbits(stored["bits"], count=int(np.prod(shape)))
            return BinaryVolume(bits.view(np.bool_).reshape(shape), stored["affine"])

    def _make(self, seed: int) -> int:
        skull = make_skull(seed, self.spacing_mm)
        _keep(self._path(seed), {"bits": np.packbits(skull.mask), "shape": np.array(skull.shape), "affine": skull.affine})
        return seed

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.npz"


Maker = Callable[[BinaryVolume, BinaryVolume, Settings], Example]
"""(defective, whole, settings) -> an example; CalvariaError where it leaves nothing to see."""


class CompletionExamples(Dataset[Example]):
    """Example `i` of a run: one of the skulls, mirrored or not, with a defect of its own."""

    def __init__(self, store: SkullStore, skulls: range, settings: Settings, data: DataConfig, seed: int, count: int, make: Maker):
        self.store, self.skulls, self.settings, self.data, self.seed, self.count = store, skulls, settings, data, seed, count
        self.make = make
        self.kinds = tuple(kind for kind in DEFECT_KINDS if kind not in data.without)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        for _ in range(TRIES):
            skull = self._skull(rng)
            defect_seed = int(rng.integers(2**31))
            intact = self.data.intact > rng.random()
            try:
                return self.make(skull if intact else cut_defect(skull, defect_seed, kinds=self.kinds).defective, skull, self.settings)
            except CalvariaError as error:  # a defect that left nothing to see: draw again
                reason = error
        raise ValueError(f"no example could be made in {TRIES} tries; the last failed because: {reason}")

    def _skull(self, rng: np.random.Generator) -> BinaryVolume:
        """One of the skulls, mirrored or not, and stretched along its axes."""
        skull = self.store.load(int(rng.choice(self.skulls)))
        mask = skull.mask[::-1] if rng.random() < 0.5 else skull.mask
        stretch = 1 + rng.uniform(-self.data.stretch, self.data.stretch, 3)
        return BinaryVolume(mask, skull.affine @ np.diag([*stretch, 1.0]))


def occupancy_example(defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
    """Cells are given and wanted full or empty, as in the paper, on the working grid that the defective skull gets when served."""
    prepared = prepare(defective, settings)
    wanted = prepared.grid.coarsen(to_canonical(whole.mask, whole.affine).mask) > settings.occupied_share
    return Example(prepared.sites, prepared.sites, None, np.float32(1) * (wanted | prepared.sites))


def graded_example(defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
    """Cells are given and wanted with how full they are."""
    prepared = prepare(defective, settings)
    wanted = prepared.grid.coarsen(to_canonical(whole.mask, whole.affine).mask)
    return Example(prepared.sites, prepared.sites, prepared.features, np.maximum(wanted, prepared.shares))


class CloseUpExamples:
    """Makes examples for a second look from what a first network, in the folder `first`, says of defective skulls."""

    def __init__(self, first: Path):
        self.first = first

    @cached_property
    def predictor(self) -> Predictor:
        """The first network alone, whatever second one its folder may hold already."""
        return Predictor(*load_weights(self.first / WEIGHTS))

    def __call__(self, defective: BinaryVolume, whole: BinaryVolume, settings: Settings) -> Example:
        prepared = self.predictor.prepare(defective)
        field = self.predictor.infer([prepared])[0].field
        assert self.predictor.task.look is not None
        closeup = self.predictor.task.look(prepared, field, self.predictor.settings, settings)
        if closeup is None or closeup.occupied_cells > MOST_SITES:
            raise CalvariaError(ErrorCode.EMPTY_MASK, "the first network found nothing to look at, or too much")
        wanted = closeup.grid.coarsen(to_canonical(whole.mask, whole.affine).mask[closeup.box])
        had = closeup.sites & (closeup.shares > settings.occupied_share)
        return Example(closeup.sites, had, closeup.features, np.where(closeup.sites, np.maximum(wanted, closeup.shares), np.float32(0)))


class KeptExamples(Dataset[Example]):
    """The first `distinct` examples of a data set over and over, every other time mirrored left for right; each is made once, and kept
    in a folder.
    """

    def __init__(self, examples: Dataset[Example], count: int, distinct: int, folder: Path):
        self.examples, self.count, self.distinct, self.folder = examples, count, distinct, folder

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        path = self.folder / f"{index % self.distinct}.npz"
        if not path.exists():
            self._make(index % self.distinct, path)
        with np.load(path) as kept:
            features = kept["features"].astype(np.float32) if "features" in kept else None
            example = Example(kept["sites"], kept["had"], features, kept["wanted"].astype(np.float32))
        return mirrored(example) if index // self.distinct % 2 else example

    def _make(self, number: int, path: Path) -> None:
        example = self.examples[number]
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"sites": example.sites, "had": example.had, "wanted": example.wanted.astype(np.float16)}
        _keep(path, kept if example.features is None else kept | {"features": example.features.astype(np.float16)})


def _keep(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """A file that is there whole or not at all, whatever other process may be making the same one."""
    unfinished = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez_compressed(unfinished, **arrays)  # type: ignore[arg-type]
    unfinished.replace(path)


def mirrored(example: Example) -> Example:
    """An example left for right."""
    features = None if example.features is None else mirror_image(example.sites, example.features)[1]
    sites, had = np.ascontiguousarray(example.sites[::-1]), np.ascontiguousarray(example.had[::-1])
    return Example(sites, had, features, np.ascontiguousarray(example.wanted[::-1]))
