"""One random generator per part of what is generated, so that changing how one part is drawn leaves the others as they were."""

from enum import IntEnum

import numpy as np


class Part(IntEnum):
    """What is drawn independently for a seed. A number never changes: seeds would mean other heads."""

    SHAPE = 0
    BASE = 1
    FACE = 2
    TEXTURE = 3
    DEFORMATION = 4
    VAULT = 5
    SEPTUM = 6
    DEFECT = 7
    SURGERY = 8
    RELIEF = 9
    CLEFTS = 10
    MOULDING = 11
    OPENINGS = 12
    SYMMETRY = 13
    SINUSES = 14
    THORAX = 20
    ORGAN_RELIEF = 21
    BODY = 22
    CASE = 23
    MISTAKES = 24
    SCAN = 25
    GRID = 26


def generator(seed: int, part: Part) -> np.random.Generator:
    """The generator of a part of what a seed (0 or more) gives."""
    return np.random.default_rng([seed, int(part)])
