"""Cases to score completion on: skulls with a piece cut out, the piece being the truth; intact skulls; and the users' own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from calvaria.datasets import Pair, pairs
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.evaluation.defects import AUTOIMPLANT_KINDS, TEST_KINDS, removed
from calvaria.evaluation.scoring import Case, Drawn, Planned
from calvaria.geometry import to_canonical
from calvaria.grid import HALF, WorkingGrid
from calvaria.synthetic import make_skull
from calvaria.synthetic.seeds import EVALUATION
from calvaria.volume import BinaryVolume

INTACT = "intact"


def cut(skull: BinaryVolume, seed: int, kind: str) -> Case:
    """Cut the test defect of a seed and kind (`defects.KINDS`) into a whole skull.

    CalvariaError EMPTY_MASK for an empty mask, BAD_OPTION for another kind, BAD_GEOMETRY where no bone can be taken out.
    """
    if not skull.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The volume is empty: there is no skull to cut a defect into.")
    implant = removed(skull, seed, kind)
    return Case(skull.like(skull.mask & ~implant), skull.like(implant))


def turn(seed: int, kinds: tuple[str, ...]) -> str:
    """Kinds take turns as seeds count up."""
    return kinds[seed % len(kinds)]


def cuts_of(skull: BinaryVolume, name: str, drawn: Drawn) -> list[Planned]:
    """One skull with a different defect for every seed; by default the kinds of TEST_KINDS take turns."""

    def planned(seed: int, kind: str) -> Planned:
        return Planned(f"{name}, {kind} {seed}", kind, name, lambda: cut(skull, seed, kind))

    return [planned(seed, turn(seed, drawn.kinds or TEST_KINDS)) for seed in drawn.seeds]


def generated(drawn: Drawn) -> list[Planned]:
    """Generated skulls that no training saw, each with a defect of its own, on voxels of about so many mm (see `head`).

    By default the kinds of AUTOIMPLANT_KINDS take turns.
    """
    check_held_out(drawn.seeds)

    def planned(seed: int, kind: str) -> Planned:
        name = f"generated {seed}"
        return Planned(f"{name}, {kind} {seed}", kind, name, lambda: cut(head(seed, drawn.spacing_mm), seed, kind))

    return [planned(seed, turn(seed, drawn.kinds or AUTOIMPLANT_KINDS)) for seed in drawn.seeds]


def intact(drawn: Drawn) -> list[Planned]:
    """Generated skulls that no training saw, with nothing missing."""
    check_held_out(drawn.seeds)
    _check_one_kind(drawn)
    return [_planned_whole(f"generated {seed}", partial(head, seed, drawn.spacing_mm)) for seed in drawn.seeds]


def intact_skull(skull: BinaryVolume, name: str, drawn: Drawn) -> list[Planned]:
    """One skull with nothing missing: one case, however many are wanted."""
    _check_one_kind(drawn)
    return [_planned_whole(name, lambda: skull)]


def _check_one_kind(drawn: Drawn) -> None:
    if drawn.kinds:
        raise bad_option("Heads with nothing missing are of one kind: leave out --kinds.")


def from_folder(folder: Path) -> list[Planned]:
    """The defective skulls of a folder with their truths, in any layout of `calvaria.datasets`; nothing is read until it is needed."""

    def planned(pair: Pair) -> Planned:
        return Planned(pair.name, pair.kind or "defect", pair.skull, lambda: Case(*pair.read()), tuple(pair.paths))

    return [planned(pair) for pair in pairs(folder)]


def head(seed: int, spacing_mm: float) -> BinaryVolume:
    """A generated skull on voxels of its own: 0.8 to 1.2 times `spacing_mm` across, 0.8 to 1.5 times along, as scanners differ."""
    rng = np.random.default_rng([seed, EVALUATION.stop])
    across, along = spacing_mm * float(rng.uniform(0.8, 1.2)), spacing_mm * float(rng.uniform(0.8, 1.5))
    return make_skull(seed, (across, across, along))


def coarsened(planned: Planned, spacing_mm: float) -> Planned:
    """A case on isotropic cells of `spacing_mm`: a cell is bone where more than half of it is, before and after the cut."""

    def make() -> Case:
        case = planned.make()
        defective = to_canonical(case.given)
        implant = to_canonical(case.truth)
        whole = BinaryVolume(defective.mask | implant.mask, defective.affine)
        grid = WorkingGrid.over(whole, spacing_mm, margin_mm=12 * spacing_mm)
        before, after = (grid.coarsen(mask) > HALF for mask in (whole.mask, defective.mask))
        return Case(BinaryVolume(after, grid.affine), BinaryVolume(before & ~after, grid.affine))

    return replace(planned, make=make)


def _planned_whole(name: str, skull: Callable[[], BinaryVolume]) -> Planned:
    def make() -> Case:
        volume = skull()
        return Case(volume, volume.emptied())

    return Planned(name, INTACT, name, make)


def check_held_out(seeds: range, what: str = "Skulls") -> None:
    """CalvariaError BAD_OPTION for skulls, or chests, that something was trained on."""
    if not seeds or seeds[0] not in EVALUATION or seeds[-1] not in EVALUATION:
        raise bad_option(f"{what} to score on have seeds from 0 to {EVALUATION[-1]}: others were trained on.")
