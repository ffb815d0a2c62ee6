"""Skulls for whatever is learned from them, and those that are generated, kept on disk."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calvaria.errors import bad_option
from calvaria.files import make_folder
from calvaria.synthetic import make_skull
from calvaria.synthetic.seeds import GENERATOR
from calvaria.training.config import TrainConfig
from calvaria.training.data import keep, read_kept
from calvaria.training.stopping import end_with_parent
from calvaria.volume import BinaryVolume


class SkullStore:
    """Generated skulls by seed, as packed bits in a folder, so that a run pays for each once."""

    def __init__(self, folder: Path, spacing_mm: float):
        self.folder = Path(folder) / f"skulls-{GENERATOR}-{spacing_mm:g}mm"
        self.spacing_mm = spacing_mm

    def make(self, seeds: Sequence[int], workers: int) -> Iterator[int]:
        """Generate what is missing, yielding each seed as it is there.

        In an order of this process's own: others that make the same begin elsewhere, and what one has made the rest pass over.
        """
        missing = [seed for seed in seeds if not self._path(seed).exists()]
        absent = set(missing)
        yield from (seed for seed in seeds if seed not in absent)
        if not missing:
            return
        make_folder(self.folder)
        with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
            yield from pool.map(self._make, np.random.default_rng(os.getpid()).permutation(missing).tolist())

    def load(self, seed: int) -> BinaryVolume:
        stored = read_kept(self._path(seed), lambda: self._make(seed))
        shape = tuple(stored["shape"])
        bits = np.unpackbits(stored["bits"], count=int(np.prod(shape)))
        return BinaryVolume(bits.view(np.bool_).reshape(shape), stored["affine"])

    def _make(self, seed: int) -> int:
        if self._path(seed).exists():  # of several runs, or processes of one, another was quicker
            return seed
        skull = make_skull(seed, self.spacing_mm)
        keep(self._path(seed), {"bits": np.packbits(skull.mask), "shape": np.array(skull.shape), "affine": skull.affine})
        return seed

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.npz"


def store(config: TrainConfig, folder: Path) -> SkullStore:
    """Of the skulls that a run in `folder` learns from. CalvariaError BAD_OPTION where the configuration does not say how fine they are."""
    if not config.settings.spacing_mm:
        raise bad_option("Cells as wide as a volume's voxels (spacing_mm = 0) need volumes: name --cases-from.")
    return SkullStore(folder.parent, config.settings.spacing_mm / config.data.finer)


@dataclass(frozen=True, eq=False)
class Head:
    """A whole skull and, where a piece of it is missing in a way that is given, the same skull without that."""

    whole: BinaryVolume
    defective: BinaryVolume | None = None


Source = Callable[[np.random.Generator], Any]
"""What a task learns from, by chance: skulls (`Head`), or masks (`RefinementCase`)."""

Skulls = Callable[[np.random.Generator], Head]


@dataclass(frozen=True, eq=False)
class GeneratedSkulls:
    """One of those in a store, mirrored or not, and each axis stretched or shrunk by up to a share."""

    store: SkullStore
    seeds: range
    stretch: float

    def __call__(self, rng: np.random.Generator) -> Head:
        skull = self.store.load(int(rng.choice(self.seeds)))
        return Head(varied([skull], self.stretch, rng)[0])


def generated_skulls(config: TrainConfig, folder: Path, seeds: range, stretch: float) -> Source:
    """Those of a run in `folder`, which must lie in its store by the time they are drawn. CalvariaError as `store`."""
    return GeneratedSkulls(store(config, folder), seeds, stretch)


def varied(skulls: Sequence[BinaryVolume], stretch: float, rng: np.random.Generator, *, mirror: bool = True) -> list[BinaryVolume]:
    """Skulls on one grid, all mirrored or none, where they may be, and stretched alike."""
    mirrored = mirror and rng.random() < 0.5
    steps = 1 + rng.uniform(-stretch, stretch, 3)
    return [BinaryVolume(skull.mask[::-1] if mirrored else skull.mask, skull.affine @ np.diag([*steps, 1.0])) for skull in skulls]
