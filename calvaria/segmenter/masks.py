"""What the dense network makes of the organs of generated chests."""

from functools import lru_cache
from hashlib import sha256

import numpy as np

from calvaria.cores import one_blas_thread
from calvaria.segmenter.network import SCAN_MM, WEIGHTS, Segmentation, Segmenter
from calvaria.synthetic.lattice import Axis
from calvaria.synthetic.thorax.anatomy import HIGH_MM, LOW_MM, ORGANS
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.synthetic.thorax.scan import scan
from calvaria.volume import BinaryVolume

SEGMENTED = "heart", "aorta", "trachea"
"""What the dense network finds; the oesophagus is too thin for its cells."""


def segmented(seed: int, organ: str, truth: BinaryVolume) -> BinaryVolume:
    """The dense network's mask of an organ of a chest, on the truth's axis-aligned grid."""
    axes = [
        (origin + mm * np.arange(count)).astype(np.float32)
        for origin, mm, count in zip(truth.origin_mm, truth.spacing_mm, truth.shape, strict=True)
    ]
    return truth.like(_segmentation(seed).on(axes) == ORGANS.index(organ) + 1)


def segmented_by() -> str | None:
    """SHA-256 of the dense network's weights, which its masks are told from another's by; None where there are none."""
    return sha256(WEIGHTS.read_bytes()).hexdigest() if WEIGHTS.exists() else None


@lru_cache(maxsize=2)
def _segmentation(seed: int) -> Segmentation:
    axes: list[Axis] = [np.arange(low, high, SCAN_MM, dtype=np.float32) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    with one_blas_thread():
        image = scan(make_thorax(seed), axes, seed)
    return _segmenter()(image, axes)


@lru_cache(maxsize=1)
def _segmenter() -> Segmenter:
    return Segmenter.load()
