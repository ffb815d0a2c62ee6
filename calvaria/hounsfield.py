"""Whether samples can be Hounsfield units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode

AIR_HU = -1000.0
"""HU of air, and of samples that are no number."""

SOFTEST_HU = -50.0
"""A scan holds something below it: air, at -1000, or at least fat, at -100."""

DENSEST_HU = 2.0**15
"""No scanner stores more: CT is 12 bits, or 16 where metal is to be told apart."""


def check_hounsfield(samples: NDArray[Any], what_to_do: str, offset_hu: float = 0.0) -> None:
    """CalvariaError NOT_HOUNSFIELD where samples [X, Y, Z], `offset_hu` added, cannot be Hounsfield units; NaN counts as air.

    `what_to_do`: a sentence for those whose scanner stored them without a sign.
    """
    low, high = (end + offset_hu for end in finite_range(samples))
    if low > SOFTEST_HU or high > DENSEST_HU:
        found = f"The samples run from {low:g} to {high:g} and cannot be Hounsfield units, in which air is -1000."
        raise CalvariaError(ErrorCode.NOT_HOUNSFIELD, f"{found} If they are CT stored without its offset, {what_to_do}")


def finite_range(samples: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest finite sample. CalvariaError NOT_HOUNSFIELD where there is none."""
    if samples.dtype.kind != "f":
        return float(samples.min()), float(samples.max())
    known = np.isfinite(samples)
    if not known.any():
        raise CalvariaError(ErrorCode.NOT_HOUNSFIELD, "No sample is a finite number: this is no CT.")
    least, most = np.float64(np.inf), np.float64(-np.inf)
    return float(samples.min(where=known, initial=least)), float(samples.max(where=known, initial=most))
