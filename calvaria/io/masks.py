"""From samples of any type to a mask, refusing what is not one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.labels import present_labels
from calvaria.volume import Mask

_MOST_VALUES = 64  # more distinct values are an image, not labels
_WHOLE = 1e-3  # masks stored as scaled integers come back as 0.9999999
_CHUNK = 2**20
_LARGEST_LABEL = 255


def to_mask(samples: NDArray[Any], label: int | None) -> tuple[Mask, tuple[int, ...]]:
    """Where samples [X, Y, Z] are above zero, and the labels there, where they are several; or where they equal `label` (at least 1).

    Samples that are all 0 or 1 in one byte are viewed, not copied. Raises NOT_BINARY for what looks like CT (negative or fractional values,
    or more than 64 of them), LABEL_ABSENT where no sample equals the label.
    """
    if label is not None:
        return _labelled(samples, label), ()
    if samples.dtype == np.uint8 and samples.max() <= 1:
        return samples.view(np.bool_), ()
    values = _distinct(samples)
    if values is None or not _are_labels(values):
        raise CalvariaError(ErrorCode.NOT_BINARY, _what_it_is_instead(samples, values))
    labels = tuple(round(value) for value in values.tolist() if value > 0.5)
    return samples > 0.5, labels if len(labels) > 1 else ()


def _what_it_is_instead(samples: NDArray[Any], values: NDArray[Any] | None) -> str:
    """A sentence about samples that are no mask, whose distinct values are known if they are few, and what to do."""
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        return "The volume holds samples that are no finite number, which neither a mask nor labels do. Write it again without them."
    least, most = samples.min(), samples.max()
    if samples.dtype.kind == "f" and least >= 0 and most <= 1:
        return f"The volume holds values from {least:g} to {most:g}: they look like probabilities. Keep what is above a half, as 0 and 1."
    some = f"values from {least:g} to {most:g}, some negative or fractional"
    found = f"more than {_MOST_VALUES} distinct values" if values is None else some
    return (
        f"The volume holds {found}: it looks like CT, not a mask. "
        "For a skull, threshold it first: calvaria threshold ct.nrrd --hu 300 --out skull.nrrd. "
        f"If it is a map of {_MOST_VALUES} labels or more, choose one with the option label, or send fewer."
    )


def to_labels(samples: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Samples [X, Y, Z] as labels from 1 to 255, 0 being nothing; None where there is none but 1, or a single one above 255: of a mask.

    Raises NOT_BINARY as `to_mask` does, and for several labels of which one is above 255.
    """
    if samples.dtype == np.uint8 and samples.max() <= 1:
        return None
    merged = to_mask(samples, None)[1]
    if (largest := np.rint(samples.max())) > _LARGEST_LABEL:
        if not merged:
            return None
        message = f"The volume holds the label {largest:g}; labels go up to {_LARGEST_LABEL}. Choose one with the option label."
        raise CalvariaError(ErrorCode.NOT_BINARY, message)
    found: NDArray[np.uint8] = samples
    if samples.dtype != np.uint8:
        found = np.empty_like(samples, np.uint8)
        np.rint(samples, out=found, casting="unsafe")  # part by part, unlike astype(np.rint(...))
    return found if present_labels(found) not in ([], [1]) else None


def _labelled(samples: NDArray[Any], label: int) -> Mask:
    if label < 1:
        raise bad_option(f"A label is a whole number of at least 1, not {label}.")
    # As a number of 64 bits: those of 32 cannot tell a label above 16,384 from what lies next to it.
    low, high = np.float64(label - _WHOLE), np.float64(label + _WHOLE)
    mask: Mask = samples == label if samples.dtype.kind in "iu" else (samples > low) & (samples < high)
    if not mask.any():
        values = _distinct(samples)
        present = "many values" if values is None else ", ".join(f"{value:g}" for value in values[:_MOST_VALUES])
        raise CalvariaError(ErrorCode.LABEL_ABSENT, f"No voxel has the label {label}; the volume holds {present}.")
    return mask


def _are_labels(values: NDArray[Any]) -> bool:
    """Whether distinct values can be labels: whole numbers from zero up."""
    return bool(np.isfinite(values).all() and (values > -_WHOLE).all() and (abs(values - np.rint(values)) < _WHOLE).all())


def _distinct(samples: NDArray[Any]) -> NDArray[Any] | None:
    """The distinct values, sorted, or None as soon as there are too many.

    Neighbours are mostly equal in a mask, so only samples that differ from the one before are looked at; in CT nearly all differ,
    and the first chunk settles it.
    """
    line = samples.reshape(-1, order="A")
    values = line[:1]
    for start in range(0, line.size, _CHUNK):
        chunk = line[start : start + _CHUNK]
        changed = chunk[1:][chunk[1:] != chunk[:-1]]
        values = np.unique(np.concatenate([values, chunk[:1], changed]))
        if values.size > _MOST_VALUES:
            return None
    return values
