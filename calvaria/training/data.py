"""What a network learns from: examples, drawn, kept on disk, and gathered in batches.

An example is a pure function of the run's seed and the example's number, so a resumed run sees what an uninterrupted one would.
"""

import logging
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import make_folder, write_file
from calvaria.geometry import Field
from calvaria.inference import mirror_image
from calvaria.networks import LEVELS
from calvaria.sparse import SiteSet
from calvaria.tasks import Settings
from calvaria.volume import Mask

log = logging.getLogger(__name__)

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


EXAMPLES = 13
"""Version of what examples are, to be raised with every change, beside the generator's own: how skulls are changed and cut, what a network
is given of them, how tasks lay their grids, where kept ones lie. Kept examples of another version are not used.
"""

COARSEST = 2 ** (LEVELS - 1)
"""The largest stride of a network: grids that begin so many cells apart are alike to it."""

Draw = Callable[[np.random.Generator], Example]
"""An example by chance; CalvariaError where it leaves nothing to see."""


class Examples(Dataset[Example]):
    """Example `i` of a run, drawn with a generator of its own."""

    def __init__(self, draw: Draw, seed: int, count: int):
        self.draw, self.seed, self.count = draw, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        for _ in range(TRIES):
            try:
                return self.draw(rng)
            except CalvariaError as error:  # one that left nothing to see: draw again, unless what was asked for cannot be
                if error.code is ErrorCode.BAD_OPTION:
                    raise
                reason = error
        raise bad_option(f"No example could be made in {TRIES} tries; the last failed because: {reason}")


class KeptExamples(Dataset[Example]):
    """The first `distinct` examples of a data set over and over, if `by_turns` every other time mirrored left for right; each is made
    once, and kept in a folder. Every time it lies otherwise among the cells of coarser strides, so that none can be told by where it lies,
    and in every run: where depends on the examples' seed.
    """

    def __init__(self, examples: Examples, distinct: int, folder: Path, by_turns: bool = True):
        self.examples, self.distinct, self.folder, self.by_turns = examples, distinct, folder, by_turns

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        path = self.folder / f"{index % self.distinct}.npz"
        kept = read_kept(path, lambda: self._make(index % self.distinct, path))
        features = kept["features"].astype(np.float32) if "features" in kept else None
        example = Example(kept["sites"], kept["had"], features, kept["wanted"].astype(np.float32))
        example = mirrored(example) if self.by_turns and index // self.distinct % 2 else example
        where = np.random.default_rng([self.examples.seed, self.distinct, index])
        return shifted(example, where.integers(0, COARSEST, 3).tolist())

    def _make(self, number: int, path: Path) -> None:
        example = self.examples[number]
        make_folder(self.folder)
        kept = {"sites": example.sites, "had": example.had, "wanted": example.wanted.astype(np.float16)}
        keep(path, kept if example.features is None else kept | {"features": example.features.astype(np.float16)})


def keep(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write an .npz file whole or not at all, whatever other process may be making the same one. Errors as of `write_file`."""
    content = BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def read_kept(path: Path, make: Callable[[], object]) -> dict[str, NDArray[Any]]:
    """What lies in an .npz file. It is made where it is not there, and once more where it is damaged, as after a power cut."""
    if not path.exists():
        make()
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except (EOFError, ValueError, KeyError, BadZipFile, zlib.error):
        log.warning("%s is damaged, and is made again.", path)
        path.unlink(missing_ok=True)
        make()
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def shifted(example: Example, cells: Sequence[int]) -> Example:
    """An example on a grid that begins as many cells earlier along each axis."""
    before = [(count, 0) for count in cells]
    return Example(np.pad(example.sites, before), np.pad(example.had, before), example.features, np.pad(example.wanted, before))


def mirrored(example: Example) -> Example:
    """An example left for right."""
    features = None if example.features is None else mirror_image(example.sites, example.features)[1]
    return Example(example.sites[::-1].copy(), example.had[::-1].copy(), features, example.wanted[::-1].copy())
