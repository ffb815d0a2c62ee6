"""Plain ways to clean a mask, which a network must beat. None is random.

How far each reaches was chosen on masks that networks learn from: `python -m calvaria.evaluation.cleaning` chooses again.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from calvaria.evaluation.metrics import dice
from calvaria.synthetic.seeds import TRAINING
from calvaria.synthetic.thorax import ORGANS, RefinementCase, make_case
from calvaria.tasks import components
from calvaria.tasks.opening import close_by_distance, open_by_ball
from calvaria.volume import BinaryVolume

Cleaning = Callable[[BinaryVolume], BinaryVolume]
Reaching = Callable[[BinaryVolume, float], BinaryVolume]

OPENING_MM = 2.0
CLOSING_MM = 4.0
SMOOTHING_MM = 2.0
TRIED_MM = 1.0, 1.5, 2.0, 3.0, 4.0, 6.0

CASES = 48
"""Training cases that the choice is made on."""


def opening(volume: BinaryVolume, radius_mm: float = OPENING_MM) -> BinaryVolume:
    """Morphological opening with a ball: what is thinner is dropped."""
    return volume.like(open_by_ball(volume.mask, radius_mm, volume.spacing_mm))


def closing(volume: BinaryVolume, radius_mm: float = CLOSING_MM) -> BinaryVolume:
    """Morphological closing with a ball: gaps and dents that are narrower are filled."""
    return volume.like(close_by_distance(volume.mask, radius_mm, volume.spacing_mm))


def largest_component(volume: BinaryVolume) -> BinaryVolume:
    """The largest 26-connected component."""
    return volume.like(components.largest_component(np.ascontiguousarray(volume.mask)))


def smoothing(volume: BinaryVolume, deviation_mm: float = SMOOTHING_MM) -> BinaryVolume:
    """Where a Gaussian of this standard deviation sees more inside than outside; the border of the grid is continued."""
    deviations = [deviation_mm / mm for mm in volume.spacing_mm]
    share = ndimage.gaussian_filter(volume.mask.astype(np.float32), deviations, mode="nearest", truncate=3)
    return volume.like(np.asarray(share > 0.5))


BASELINES: Mapping[str, Cleaning] = {
    "opening": opening,
    "closing": closing,
    "largest component": largest_component,
    "Gaussian smoothing": smoothing,
}

REACHING: Mapping[str, Reaching] = {"opening": opening, "closing": closing, "Gaussian smoothing": smoothing}


def mean_dice(cleaning: Cleaning, cases: Sequence[RefinementCase]) -> float:
    """Mean Dice of cleaned masks against the truth."""
    return float(np.mean([dice(cleaning(case.given).mask, case.truth.mask) for case in cases]))


def best_mm(reaching: Reaching, cases: Sequence[RefinementCase]) -> float:
    """The reach that mends most."""
    return max(TRIED_MM, key=lambda mm: mean_dice(partial(_at, reaching, mm), cases))


def _at(reaching: Reaching, mm: float, volume: BinaryVolume) -> BinaryVolume:
    return reaching(volume, mm)


def main() -> None:
    cases = [make_case(seed, ORGANS[seed % len(ORGANS)], (0.75, 0.9), 0.0) for seed in TRAINING[:CASES]]
    for name, reaching in REACHING.items():
        print(f"{name}: {best_mm(reaching, cases):g} mm")


if __name__ == "__main__":
    main()
