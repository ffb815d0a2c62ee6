"""How refinement is scored: organs with drawn mistakes and with a dense network's own, masks that are right, and users' masks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from calvaria.datasets import MaskPair, mask_pairs
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.evaluation.cleaning import BASELINES
from calvaria.evaluation.metrics import agreement, dice
from calvaria.evaluation.mistakes import corrupted
from calvaria.evaluation.organs import DRAWN, SOURCES, cases_of_organs
from calvaria.evaluation.scoring import Assessment, Band, Case, Drawn, Figure, Method, Outputs, Planned, Scoring, Test
from calvaria.evaluation.sheet import mask_strip
from calvaria.segmenter import segmented_by
from calvaria.synthetic.seeds import CHESTS
from calvaria.synthetic.thorax import ORGANS
from calvaria.tasks import Extras
from calvaria.tasks.refinement import REFINED
from calvaria.volume import BinaryVolume

SCAN = "scan"
"""The kind that asks for the scan with every mask."""

RIGHT = "right"

GIVEN = "given"
"""Kind of the users' own cases."""

LEAST_DICE = 0.995
"""A mask that was right and falls below this was made worse."""


def generated(drawn: Drawn) -> list[Planned]:
    """Every organ of generated chests that no training saw, once with drawn mistakes and once with a dense network's own."""
    organs, sources = ([each for each in every if each in drawn.kinds] or every for every in (ORGANS, SOURCES))
    return cases_of_organs(drawn.seeds, organs, sources, imaged=SCAN in drawn.kinds)


def right(drawn: Drawn) -> list[Planned]:
    """Every organ of generated chests, given as it is; BAD_OPTION where it is asked for somebody's mistakes."""
    if named := [kind for kind in drawn.kinds if kind in SOURCES]:
        raise bad_option(f"Masks that are right have no mistakes: leave {' and '.join(named)} out of --kinds.")
    return [_untouched(planned) for planned in generated(replace(drawn, kinds=(*drawn.kinds, DRAWN)))]


def of_whole(volume: BinaryVolume, name: str, drawn: Drawn) -> list[Planned]:
    """Any mask, with other drawn mistakes for every seed."""
    _check(volume, name, drawn)

    def planned(seed: int) -> Planned:
        return Planned(f"{name}, {DRAWN} {seed}", DRAWN, name, lambda: Case(corrupted(volume, seed), volume))

    return [planned(seed) for seed in drawn.seeds]


def whole_as_it_is(volume: BinaryVolume, name: str, drawn: Drawn) -> list[Planned]:
    """Any mask as it is: one case, however many are wanted."""
    _check(volume, name, drawn)
    return [Planned(name, RIGHT, name, lambda: Case(volume, volume))]


def from_folder(folder: Path) -> list[Planned]:
    """A folder's rough masks with the right ones, and scans where there are any, in a layout of `calvaria.datasets.masks`."""

    def planned(pair: MaskPair) -> Planned:
        def make() -> Case:
            rough, right, image = pair.read()
            return Case(rough, right, Extras(image=image))

        return Planned(pair.name, GIVEN, pair.name, make, pair.paths)

    return [planned(pair) for pair in mask_pairs(folder)]


def _check(volume: BinaryVolume, name: str, drawn: Drawn) -> None:
    if not volume.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, f"{name} is empty: there is no shape to make mistakes in.")
    if volume.occupied == volume.mask.size:
        raise CalvariaError(ErrorCode.FULL_MASK, f"{name} fills its grid: there is no surface to make mistakes at. Leave air around it.")
    if set(drawn.kinds) - {DRAWN}:
        raise bad_option(f"Mistakes in {name} are drawn, and which organ it is stays unknown: leave out --kinds.")


def _untouched(planned: Planned) -> Planned:
    organ = planned.kind.removesuffix(f", {DRAWN}")
    name = planned.name.replace(f", {DRAWN}", f", {RIGHT}")

    def make() -> Case:
        case = planned.make()
        return replace(case, given=case.truth)

    return replace(planned, name=name, kind=organ, make=make)


def _scores(case: Case, outputs: Outputs) -> dict[str, float]:
    found = agreement(outputs[REFINED], case.truth)
    before, after = dice(case.given.mask, case.truth.mask), found["dice"]
    return found | {"error_left": _left(1 - before, 1 - after), "worse": float(after < LEAST_DICE), "given_dice": before}


def _left(before: float, after: float) -> float:
    """Share of an error that is left; where there was none: 0 if there still is none, else infinite."""
    return after / before if before else float("inf") if after else 0.0


def _unchanged(mask: BinaryVolume) -> BinaryVolume:
    return mask


def _refining(baseline: Callable[[BinaryVolume], BinaryVolume]) -> Method:
    def method(given: BinaryVolume, extras: Extras = Extras()) -> Outputs:
        return {REFINED: baseline(given)}

    return method


METHODS = {name: _refining(baseline) for name, baseline in {**BASELINES, "input unchanged": _unchanged}.items()}

MISTAKES = Scoring(
    (
        Figure("dice", "DSC", better="more"),
        Figure("hd95_mm", "HD95 mm", "median", 2, better="less"),
        Figure("nsd_1mm", "NSD 1 mm"),
        Figure("error_left", "error left", better="less"),
        Figure("given_dice"),
        Figure("precision"),
        Figure("recall"),
    ),
    _scores,
    METHODS,
    mask_strip,
    band=Band("given_dice", 0.75, 0.90, "masks of DSC 0.75 to 0.90"),
    subject="subject",
)
"""`error_left`: what an answer leaves of the input's error, (1 − DSC) / (1 − DSC of what was given); below 0.5 the error is halved."""

UNTOUCHED = Scoring(
    (
        Figure("dice", "DSC", digits=4, better="more"),
        Figure("hd95_mm", "HD95 mm", "median", 2),
        Figure("worse", f"below {LEAST_DICE:g}", "count"),
        Figure("precision"),
        Figure("recall"),
    ),
    _scores,
    METHODS,
    mask_strip,
    subject="subject",
)

REFINEMENT = Assessment(
    "refinement",
    "Generated chests that no training saw",
    (*ORGANS, *SOURCES, SCAN),
    Test("masks with mistakes", MISTAKES, generated, of_whole, from_folder),
    Test("masks that are right", UNTOUCHED, right, whole_as_it_is),
    lambda: (CHESTS, segmented_by()),
)
