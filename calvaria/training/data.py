"""Examples for completion: generated skulls, kept on disk, with a new defect cut for every example.

An example is a pure function of the run's seed and the example's number, so a resumed run sees what an uninterrupted one would.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from calvaria.errors import CalvariaError
from calvaria.synthetic import cut_defect, make_skull
from calvaria.synthetic.seeds import GENERATOR
from calvaria.tasks import Settings
from calvaria.tasks.task import prepare
from calvaria.training.config import DataConfig
from calvaria.volume import BinaryVolume, Mask

TRIES = 20
"""Draws for one example. A defect may leave nothing to see; settings under which every one does are a mistake."""


@dataclass(frozen=True, eq=False)
class Example:
    """A network's input and what it should answer, bool [x, y, z] on one working grid."""

    given: Mask
    wanted: Mask


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
        unfinished = self._path(seed).with_suffix(".part.npz")
        np.savez_compressed(unfinished, bits=np.packbits(skull.mask), shape=np.array(skull.shape), affine=skull.affine)
        unfinished.rename(self._path(seed))
        return seed

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.npz"


class CompletionExamples(Dataset[Example]):
    """Example `i` of a run: one of the skulls, mirrored or not, with a defect of its own."""

    def __init__(self, store: SkullStore, skulls: range, settings: Settings, data: DataConfig, seed: int, count: int):
        self.store, self.skulls, self.settings, self.data, self.seed, self.count = store, skulls, settings, data, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        for _ in range(TRIES):
            skull = self.store.load(int(rng.choice(self.skulls)))
            if rng.random() < 0.5:
                skull = BinaryVolume(skull.mask[::-1], skull.affine)
            defect_seed = int(rng.integers(2**31))
            settings = replace(self.settings, occupied_share=rng.uniform(*self.data.shares)) if self.data.shares else self.settings
            intact = self.data.intact > rng.random()
            try:
                return example(skull, None if intact else defect_seed, settings)
            except CalvariaError as error:  # a defect that left nothing to see: draw again
                reason = error
        raise ValueError(f"no example could be made in {TRIES} tries; the last failed because: {reason}")


def example(skull: BinaryVolume, defect_seed: int | None, settings: Settings) -> Example:
    """A skull with a defect (None: without), and the whole one, on the working grid that the former would get when served."""
    prepared = prepare(skull if defect_seed is None else cut_defect(skull, defect_seed).defective, settings)
    whole = prepared.grid.coarsen(np.ascontiguousarray(skull.mask)) > settings.occupied_share
    return Example(prepared.sites, whole | prepared.sites)


def as_masks(examples: list[Example]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The inputs and the answers of a batch, bool [x, y, z] each."""
    return [torch.from_numpy(e.given) for e in examples], [torch.from_numpy(e.wanted) for e in examples]
