"""What is worth saying about a volume that came in and about the answer to it."""

from collections.abc import Iterable, Iterator, Mapping

import cc3d
import numpy as np

from calvaria.geometry import bounding_box
from calvaria.serving.report import ImplantFacts, Notice
from calvaria.tasks import Prepared
from calvaria.volume import BinaryVolume, Mask

IMPLANT = "implant"
"""The output that is what was missing; a task need not have it."""

MOST_LISTED = 100
"""Components of an implant whose volumes are listed."""

HEAD_SPAN_MM = (100.0, 195.0), (130.0, 250.0), (90.0, 250.0)
HEAD_CM3 = 200.0, 1000.0
"""How far the occupied voxels of a head reach to the left, to the back and upwards, and how much they fill.

24 generated skulls (`make_skull`, seeds 0 to 23, 3 mm), the kind that the networks learn from, span 117-171, 156-216 and 111-216 mm
and fill 309-793 cm³; the real head in the tests spans 138 × 194 × 135 mm and fills 430 cm³. These are a fifth wider, so that only what is
surely something else is called so: a brain (1471 cm³), a jaw, a head in the wrong unit, one cut off above the orbits.
"""

NO_DEFECT = Notice("no-defect", "Nothing seems to be missing: the implant is empty.")
TOUCHES_BORDER = Notice(
    "touches-border", "The answer reaches the border of the volume and may be cut off there; send a volume with more room around the head."
)


def assumptions(sentences: Iterable[str]) -> Iterator[Notice]:
    """What a file does not say about its geometry (see `calvaria.io.Image.warnings`)."""
    return (Notice("geometry-assumed", sentence) for sentence in sentences)


def about_input(prepared: Prepared) -> Iterator[Notice]:
    """Whether a volume is unlike the heads that the networks learned from: by its extent, cell by cell, and by its volume."""
    box = bounding_box(prepared.sites)
    span_mm = [(axis.stop - axis.start) * prepared.grid.spacing_mm for axis in box]
    fills_cm3 = prepared.volume.occupied * prepared.volume.voxel_mm3 / 1000
    within = [low <= value <= high for value, (low, high) in zip([*span_mm, fills_cm3], [*HEAD_SPAN_MM, HEAD_CM3], strict=True)]
    if not all(within):
        expected = " x ".join(f"{low:.0f}-{high:.0f}" for low, high in HEAD_SPAN_MM)
        yield Notice(
            "unlike-training-data",
            f"The mask spans {' x '.join(f'{span:.0f}' for span in span_mm)} mm and fills {fills_cm3:.3g} cm3; the heads that the network "
            f"learned from span {expected} mm and fill {HEAD_CM3[0]:.0f}-{HEAD_CM3[1]:.0f} cm3. Check the spacing, and the answer.",
        )


def about_answer(given: BinaryVolume, volumes: Mapping[str, BinaryVolume], asked: Iterable[str]) -> Iterator[Notice]:
    """`volumes`: all of a task's outputs by name; `asked`: those that the client gets."""
    if IMPLANT in volumes and not volumes[IMPLANT].mask.any():
        yield NO_DEFECT
    if any(reaches_border(given.mask, volumes[name].mask) for name in asked):
        yield TOUCHES_BORDER


def reaches_border(given: Mask, answer: Mask) -> bool:
    """Whether an answer occupies border voxels that were empty, or, on another grid, a side where none was occupied."""
    same = given.shape == answer.shape
    for side in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        before, after = given[side], answer[side]
        if (after & ~before).any() if same else after.any() and not before.any():
            return True
    return False


def implant_facts(implant: BinaryVolume) -> ImplantFacts:
    """Volumes in mm³."""
    voxels = _component_sizes(implant.mask)
    return ImplantFacts(
        volume_mm3=implant.occupied * implant.voxel_mm3,
        components=len(voxels),
        components_mm3=[size * implant.voxel_mm3 for size in voxels[:MOST_LISTED]],
    )


def _component_sizes(mask: Mask) -> list[int]:
    """Voxels of each 26-connected component, largest first."""
    if not mask.any():
        return []
    labels = cc3d.connected_components(np.asfortranarray(mask[bounding_box(mask)]), connectivity=26)
    sizes = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"][1:]
    return sorted((int(size) for size in sizes), reverse=True)
