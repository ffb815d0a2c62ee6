"""Cases to score a task on: skulls with a piece cut out, the piece being the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.defects import TEST_KINDS, removed
from calvaria.geometry import WorkingGrid, to_canonical
from calvaria.synthetic import make_skull
from calvaria.synthetic.seeds import EVALUATION
from calvaria.volume import BinaryVolume


@dataclass(frozen=True, eq=False)
class Case:
    """A defective skull and its true implant on one grid; `kind` is the kind of defect."""

    name: str
    kind: str
    defective: BinaryVolume
    implant: BinaryVolume

    def at_working_resolution(self, spacing_mm: float) -> "Case":
        """The same on isotropic cells of `spacing_mm`: a cell is bone where more than half of it is, before and after the cut."""
        defective = to_canonical(self.defective.mask, self.defective.affine)
        implant = to_canonical(self.implant.mask, self.implant.affine)
        whole = BinaryVolume(defective.mask | implant.mask, defective.affine)
        grid = WorkingGrid.over(whole, spacing_mm, margin_mm=12 * spacing_mm)
        before, after = (grid.coarsen(mask) > 0.5 for mask in (whole.mask, defective.mask))
        return Case(self.name, self.kind, BinaryVolume(after, grid.affine), BinaryVolume(before & ~after, grid.affine))


def cut(skull: BinaryVolume, seed: int, kind: str | None = None, name: str = "skull") -> Case:
    """Cut the test defect of a seed into a whole skull; by default the kinds of TEST_KINDS take turns.

    CalvariaError EMPTY_MASK for an empty mask, BAD_OPTION for another kind, BAD_GEOMETRY where no bone can be taken out.
    """
    if not skull.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The volume is empty: there is no skull to cut a defect into.")
    chosen = kind or TEST_KINDS[seed % len(TEST_KINDS)]
    implant = removed(skull, seed, chosen)
    return Case(f"{name}, {chosen} {seed}", chosen, skull.like(skull.mask & ~implant), skull.like(implant))


def cuts_of(skull: BinaryVolume, count: int, seed: int, name: str) -> Iterator[Case]:
    """One skull with `count` different defects, one at a time."""
    return (cut(skull, each, name=name) for each in range(seed, seed + count))


def generated(count: int, seed: int, spacing_mm: float) -> Iterator[Case]:
    """`count` generated skulls that no training saw, each with a defect of its own."""
    if seed not in EVALUATION or seed + count - 1 not in EVALUATION:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"Skulls to score on have seeds from 0 to {EVALUATION[-1]}: others were trained on.")
    return (cut(make_skull(each, spacing_mm), each, name=f"generated {each}") for each in range(seed, seed + count))
