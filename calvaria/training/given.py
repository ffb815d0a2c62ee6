"""The users' own defective skulls, for whatever is learned from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calvaria.datasets import Pair, fingerprint, pairs, split
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.training.config import TrainConfig
from calvaria.training.skulls import Subject, varied

HELD_OUT = 0.1
"""Share of the heads of a folder that are kept for validation."""


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
        whole, defective = varied(seen, self.stretch, rng)
        return Subject(whole, None if rng.random() < self.anew else defective)


def given_cases(config: TrainConfig) -> tuple[list[Pair], list[Pair]]:
    """The cases of the users' own folder, to learn from and to validate on. CalvariaError BAD_OPTION unless there are two heads."""
    learned, held_out = split(pairs(config.data.cases), HELD_OUT)
    if not held_out:
        message = f"{config.data.cases} holds cases of one head only; of two or more, one is kept for validation."
        raise CalvariaError(ErrorCode.BAD_OPTION, message)
    return learned, held_out


def cases_sha256(config: TrainConfig) -> str | None:
    """Of what the users' folder holds; None without one."""
    return fingerprint(path for pair in pairs(config.data.cases) for path in pair.paths) if config.data.cases else None
