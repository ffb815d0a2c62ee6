"""The users' own cases, for whatever is learned from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calvaria.datasets import MaskPair, Pair, fingerprint, mask_pairs, pairs, split
from calvaria.errors import CalvariaError, bad_option
from calvaria.geometry import bounding_box, grown, to_canonical
from calvaria.synthetic.thorax import RefinementCase
from calvaria.synthetic.thorax.cases import draw_dice
from calvaria.synthetic.thorax.mistakes import mistaken
from calvaria.training.config import TrainConfig
from calvaria.training.refinement import IMAGED
from calvaria.training.skulls import Head, Source, varied

HELD_OUT = 0.1
"""Share of the heads of a folder that are kept for validation."""

AROUND_MM = 40.0
"""Distance around a mask within which its scan is read: more than what is judged around its surface."""


class GivenCase(Protocol):
    """A case of a folder: a `Pair`, or a `MaskPair`."""

    @property
    def name(self) -> str: ...
    @property
    def skull(self) -> str: ...
    @property
    def paths(self) -> Sequence[Path]: ...
    def read(self) -> tuple[Any, ...]: ...


@dataclass(frozen=True)
class OwnCases:
    """How a task learns from a folder of the users' own.

    listed  a folder -> its cases; CalvariaError BAD_OPTION where it is in no layout that is known
    drawn   (cases, how far each is stretched at most, share that gets others than its own defects or mistakes) -> what draws one of them
    """

    listed: Callable[[Path | str], Sequence[GivenCase]]
    drawn: Callable[[Sequence[Any], float, float], Source]

    def cases(self, config: TrainConfig) -> tuple[list[GivenCase], list[GivenCase]]:
        """Those to learn from and those to validate on. CalvariaError BAD_OPTION unless there are two heads, and as `listed`."""
        learned, held_out = split(self.listed(config.data.cases), HELD_OUT)
        if not held_out:
            raise bad_option(f"{config.data.cases} holds cases of one head only; of two or more, one is kept for validation.")
        return learned, held_out

    def sha256(self, config: TrainConfig) -> str | None:
        """Fingerprint of what the users' folder holds; None without one."""
        return fingerprint(path for case in self.listed(config.data.cases) for path in case.paths) if config.data.cases else None


@dataclass(frozen=True, eq=False)
class GivenSkulls:
    """One of a folder's defective skulls with its truth, mirrored or not, and stretched alike.

    anew  share of those that come without their defect, so that another one is cut
    """

    cases: Sequence[Pair]
    stretch: float
    anew: float

    def __call__(self, rng: np.random.Generator) -> Head:
        defective, implant = _read(self.cases, rng)
        # Along the patient's axes, so that left is mirrored for right however the file runs.
        seen = [to_canonical(each).volume for each in (defective.like(defective.mask | implant.mask), defective)]
        whole, defective = varied(seen, self.stretch, rng)
        return Head(whole, None if rng.random() < self.anew else defective)


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """One of a folder's rough masks with the right one and, where there is one, by chance its scan: what lies around both, stretched alike.

    anew  share of those that get other mistakes than their own
    """

    cases: Sequence[MaskPair]
    stretch: float
    anew: float

    def __call__(self, rng: np.random.Generator) -> RefinementCase:
        rough, right, image = _read(self.cases, rng)
        box = grown(bounding_box(rough.mask | right.mask), [int(AROUND_MM / mm) + 1 for mm in right.spacing_mm], right.shape)
        truth, given = varied([right.cropped(box), rough.cropped(box)], self.stretch, rng, mirror=False)
        if rng.random() < self.anew:
            seen = to_canonical(truth)
            given = truth.like(seen.from_canonical(mistaken(seen.mask, seen.volume.spacing_mm, rng, draw_dice(rng))))
        imaged = rng.random() < IMAGED and image is not None
        return RefinementCase("", given, truth, np.asarray(image[box], np.float32) if imaged else None)


GIVEN_SKULLS = OwnCases(pairs, GivenSkulls)
GIVEN_MASKS = OwnCases(mask_pairs, GivenMasks)


def _read(cases: Sequence[GivenCase], rng: np.random.Generator) -> tuple[Any, ...]:
    case = cases[int(rng.integers(len(cases)))]
    try:
        return case.read()
    except CalvariaError as error:
        raise bad_option(f"{case.name} could be read before, and cannot now: {error}") from error  # so that none other is drawn instead
