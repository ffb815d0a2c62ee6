"""Cases to score refinement on: organs of chests that no training saw, with drawn mistakes, or as a dense network segmented them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from threadpoolctl import threadpool_limits

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.mistakes import corrupted
from calvaria.evaluation.scoring import Case, Planned
from calvaria.evaluation.segmenter import Segmentation, Segmenter
from calvaria.synthetic.lattice import Axis
from calvaria.synthetic.seeds import EVALUATION
from calvaria.synthetic.thorax.anatomy import HIGH_MM, LOW_MM, ORGANS
from calvaria.synthetic.thorax.cases import draw_scene
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.synthetic.thorax.scan import scan
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

NETWORK = "network"
SOURCES = "drawn", NETWORK
"""Whose mistakes: see `calvaria.evaluation.mistakes`, and `calvaria.evaluation.segmenter`."""

SEGMENTED = "heart", "aorta", "trachea"
"""What the dense network finds; the oesophagus is too thin for its cells."""

MOST_VOXELS = 160
"""Along an axis: the ends of long organs are cut off where voxels are small."""

SCAN_MM = 2.0
"""Voxels of the scans that the dense network segments."""


def mistaken(seeds: range, organs: Sequence[str] = ORGANS, sources: Sequence[str] = SOURCES, *, imaged: bool = False) -> list[Planned]:
    """Each organ of each chest, once for each source that has it, on voxels of 0.7 to 2.5 mm by chance; `imaged`: with the scan."""
    if not seeds or seeds[0] not in EVALUATION or seeds[-1] not in EVALUATION:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"Chests to score on have seeds from 0 to {EVALUATION[-1]}: others were trained on.")
    asked = [(organ, source) for organ in organs for source in sources if source != NETWORK or organ in SEGMENTED]
    return [_planned(seed, organ, source, imaged) for seed in seeds for organ, source in asked]


def _planned(seed: int, organ: str, source: str, imaged: bool) -> Planned:
    chest, kind = f"chest {seed}", f"{organ}, {source}"
    name = f"{chest}, {kind}"

    def make() -> Case:
        scene = draw_scene(seed, organ, MOST_VOXELS, imaged=imaged)
        given = corrupted(scene.truth, seed, others=scene.others) if source == "drawn" else segmented(seed, organ, scene.truth)
        return Case(name, kind, chest, given, scene.truth, Extras(image=scene.image))

    return Planned(name, kind, chest, make)


def segmented(seed: int, organ: str, truth: BinaryVolume) -> BinaryVolume:
    """The dense network's mask of an organ of a chest, on the truth's axis-aligned grid."""
    axes = [
        (origin + mm * np.arange(count)).astype(np.float32)
        for origin, mm, count in zip(truth.origin_mm, truth.spacing_mm, truth.shape, strict=True)
    ]
    return truth.like(_segmentation(seed).on(axes) == ORGANS.index(organ) + 1)


@lru_cache(maxsize=2)
def _segmentation(seed: int) -> Segmentation:
    axes: list[Axis] = [np.arange(low, high, SCAN_MM, dtype=np.float32) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    with threadpool_limits(1, user_api="blas"):
        image = scan(make_thorax(seed), axes, seed)
    return _segmenter()(image, axes)


@lru_cache(maxsize=1)
def _segmenter() -> Segmenter:
    return Segmenter.load()
