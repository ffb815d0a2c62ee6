"""Skulls for whatever is learned from them: generated ones, kept on disk, and those of the users' own folders."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calvaria.datasets import Pair
from calvaria.errors import CalvariaError
from calvaria.geometry import to_canonical
from calvaria.synthetic import make_skull
from calvaria.synthetic.seeds import GENERATOR
from calvaria.training.data import keep
from calvaria.volume import BinaryVolume


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
        keep(self._path(seed), {"bits": np.packbits(skull.mask), "shape": np.array(skull.shape), "affine": skull.affine})
        return seed

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.npz"


@dataclass(frozen=True, eq=False)
class Subject:
    """A whole skull and, where a piece of it is missing in a way that is given, the same skull without that."""

    whole: BinaryVolume
    defective: BinaryVolume | None = None


Skulls = Callable[[np.random.Generator], Subject]
"""Skulls by chance."""


@dataclass(frozen=True, eq=False)
class GeneratedSkulls:
    """One of those in a store, mirrored or not, and each axis stretched or shrunk by up to a share."""

    store: SkullStore
    seeds: range
    stretch: float

    def __call__(self, rng: np.random.Generator) -> Subject:
        skull = self.store.load(int(rng.choice(self.seeds)))
        return Subject(_varied([skull], self.stretch, rng)[0])


@dataclass(frozen=True, eq=False)
class GivenSkulls:
    """One of a folder's defective skulls with its truth, mirrored or not, and stretched alike.

    anew  share of those that come without their defect, so that another one is cut
    """

    cases: Sequence[Pair]
    stretch: float
    anew: float

    def __call__(self, rng: np.random.Generator) -> Subject:
        pair = self.cases[int(rng.integers(len(self.cases)))]
        try:
            defective, implant = pair.read()
        except CalvariaError as error:
            raise RuntimeError(f"{pair.name} could be read before: {error}") from error  # no example to draw again, a file that broke
        # Along the patient's axes, so that left is mirrored for right however the file runs.
        seen = [to_canonical(mask, defective.affine).volume for mask in (defective.mask | implant.mask, defective.mask)]
        whole, defective = _varied(seen, self.stretch, rng)
        return Subject(whole, None if rng.random() < self.anew else defective)


def _varied(skulls: Sequence[BinaryVolume], stretch: float, rng: np.random.Generator) -> list[BinaryVolume]:
    """Skulls on one grid, all mirrored or none, and stretched alike."""
    mirrored = rng.random() < 0.5
    steps = 1 + rng.uniform(-stretch, stretch, 3)
    return [BinaryVolume(skull.mask[::-1] if mirrored else skull.mask, skull.affine @ np.diag([*steps, 1.0])) for skull in skulls]
