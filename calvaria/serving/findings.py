"""What is worth saying about a volume that came in and about the answer to it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from calvaria.geometry import bounding_box
from calvaria.io.codec import merging
from calvaria.predictor import Asked
from calvaria.serving.report import ImplantFacts, Notice
from calvaria.tasks import Prepared, Settings, Task
from calvaria.tasks.components import components
from calvaria.volume import BinaryVolume, Mask

MOST_LISTED = 100
"""Components of an implant whose volumes are listed."""

AS_FINE = 1.1
"""How many times as wide as the volume's an answer's voxels may be without a word: whoever has 0.98 mm asks for 1 mm."""

TOUCHES_BORDER = Notice(
    "touches-border", "The answer reaches the border of the volume and may be cut off there; send a volume with more room around it."
)


def assumptions(sentences: Iterable[str]) -> Iterator[Notice]:
    """What a file does not say about its geometry (see `calvaria.io.Image.warnings`)."""
    return (Notice("geometry-assumed", sentence) for sentence in sentences)


def merged(labels: Sequence[int]) -> Iterator[Notice]:
    """A notice that a map of labels was taken for one mask."""
    if labels:
        yield Notice("labels-merged", merging(labels))


def about_questions(task: Task, questions: Iterable[Asked]) -> Iterator[Notice]:
    """What is to be said of a volume, or of each of its labels, by name."""
    for each in questions:
        for notice in about_input(task, each.prepared):
            yield replace(notice, message=f"Label {each.part.label}: {notice.message}") if each.part else notice


def about_input(task: Task, prepared: Prepared) -> Iterator[Notice]:
    """Whether a volume is unlike those that the task's network learned from, and whether its answer shows less along an axis."""
    if sentence := task.unlike(prepared):
        yield Notice("unlike-training-data", sentence)
    given_mm, answer_mm = (np.array(grid.spacing_mm) for grid in (prepared.volume, prepared.answer))
    if (answer_mm > AS_FINE * given_mm).any():
        kept = f"Ask for {given_mm.min():.3g} mm or less, or for a factor, to keep what the volume shows."
        yield Notice("coarser-than-sent", f"Along an axis, the answer's voxels are wider than the volume's. {kept}")


def about_answer(
    task: Task, given: BinaryVolume, volumes: Mapping[str, BinaryVolume], asked: Iterable[str], settings: Settings
) -> Iterator[Notice]:
    """Notices about an answer. `volumes`: all outputs by name; `asked`: those that the client gets; `settings`: what made them."""
    if remark := task.remark(given, volumes, settings):
        yield Notice(*remark)
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
    _, counts = components(np.asfortranarray(mask[bounding_box(mask)]))
    return sorted(counts[1:].tolist(), reverse=True)
