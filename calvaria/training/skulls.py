"""Generated skulls, kept on disk, for whatever is learned from them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

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


class Skulls:
    """Skulls by chance: one of those in a store, mirrored or not, and each axis stretched or shrunk by up to a share."""

    def __init__(self, store: SkullStore, seeds: range, stretch: float):
        self.store, self.seeds, self.stretch = store, seeds, stretch

    def __call__(self, rng: np.random.Generator) -> BinaryVolume:
        skull = self.store.load(int(rng.choice(self.seeds)))
        mask = skull.mask[::-1] if rng.random() < 0.5 else skull.mask
        stretch = 1 + rng.uniform(-self.stretch, self.stretch, 3)
        return BinaryVolume(mask, skull.affine @ np.diag([*stretch, 1.0]))
