"""Cases to score refinement on: organs of chests that no training saw, with drawn mistakes, or as a dense network segmented them."""

from collections.abc import Sequence

from calvaria.evaluation.cases import check_held_out
from calvaria.evaluation.mistakes import corrupted
from calvaria.evaluation.scoring import Case, Planned
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.synthetic.thorax.anatomy import ORGANS
from calvaria.synthetic.thorax.cases import draw_scene
from calvaria.tasks import Extras

DRAWN, NETWORK = "drawn", "network"
SOURCES = DRAWN, NETWORK
"""Whose mistakes: see `calvaria.evaluation.mistakes`, and `calvaria.segmenter`."""

MOST_VOXELS = 160
"""Most voxels along an axis: the ends of long organs are cut off where voxels are small."""


def cases_of_organs(
    seeds: range, organs: Sequence[str] = ORGANS, sources: Sequence[str] = SOURCES, *, imaged: bool = False
) -> list[Planned]:
    """Organs of each chest for each source that has them, on voxels of 0.7 to 2.5 mm by chance; `imaged`: with the scan.

    Of all organs and sources half the masks are the network's: one of its organs, by turns, has no drawn mask.
    """
    check_held_out(seeds, "Chests")
    return [_planned(seed, organ, source, imaged) for seed in seeds for organ, source in _asked(seed, organs, sources)]


def _asked(seed: int, organs: Sequence[str], sources: Sequence[str]) -> list[tuple[str, str]]:
    asked = [(organ, source) for organ in organs for source in sources if source != NETWORK or organ in SEGMENTED]
    if (set(organs), set(sources)) == (set(ORGANS), set(SOURCES)):
        asked.remove((SEGMENTED[seed % len(SEGMENTED)], DRAWN))
    return asked


def _planned(seed: int, organ: str, source: str, imaged: bool) -> Planned:
    chest, kind = f"chest {seed}", f"{organ}, {source}"
    name = f"{chest}, {kind}{', with scan' if imaged else ''}"  # another case: its row is no other's

    def make() -> Case:
        scene = draw_scene(seed, organ, MOST_VOXELS, imaged=imaged)
        given = corrupted(scene.truth, seed, others=scene.others) if source == DRAWN else segmented(seed, organ, scene.truth)
        return Case(given, scene.truth, Extras(image=scene.image))

    return Planned(name, kind, chest, make)
