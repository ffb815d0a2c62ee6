"""A data set of generated skulls, each whole, with defects cut into it, and with the implants that fill them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from calvaria.datasets.index import DataSet
from calvaria.errors import bad_option
from calvaria.io import FORMATS
from calvaria.synthetic import DEFECT_KINDS, cut_defect, make_skull
from calvaria.volume import BinaryVolume

SKULLBREAK_DEFECTS = ("bilateral", "frontoorbital", "parietotemporal", "random", "random")
"""Defects of each of SkullBreak's skulls."""
MOST_DEFECTS = 100
"""Most defects of a skull, so that no two skulls' defects have the same seed."""


@dataclass(frozen=True)
class Layout:
    """Where a data set's files lie: {skull} and {defect} stand for their names; `format` is one of `calvaria.io.FORMATS`."""

    complete: str
    defective: str
    implant: str
    format: str = "nrrd"

    def paths(self, skull: str, defects: Sequence[str]) -> list[str]:
        """Every file of a skull, the complete one first, then each defect's two."""
        both = [form.format(skull=skull, defect=defect) for defect in defects for form in (self.defective, self.implant)]
        return [f"{path}.{self.format}" for path in (self.complete.format(skull=skull), *both)]


LAYOUTS = {
    "skullbreak": Layout("complete_skull/{skull}", "defective_skull/{defect}/{skull}", "implant/{defect}/{skull}"),
    "pairs": Layout("{skull}/complete", "{skull}/{defect}/defective", "{skull}/{defect}/implant"),
}


def names_of(kinds: Sequence[str]) -> list[str]:
    """What defects of these kinds are called: numbered where a kind is cut more than once, as random_1 and random_2.

    BAD_OPTION for a kind that does not exist, none, or more than MOST_DEFECTS.
    """
    for kind in kinds:
        if kind not in DEFECT_KINDS:
            raise bad_option(f"There is no defect kind {kind!r}. Choose some of: {', '.join(DEFECT_KINDS)}.")
    if not 0 < len(kinds) <= MOST_DEFECTS:
        raise bad_option(f"A skull gets from 1 to {MOST_DEFECTS} defects, not {len(kinds)}.")
    often, seen = Counter(kinds), Counter[str]()
    return [f"{kind}_{seen[kind]}" if often[kind] > 1 else kind for kind in kinds if not seen.update([kind])]


def layout_named(name: str, format: str = "nrrd") -> Layout:
    """One of LAYOUTS, its files in a format; or BAD_OPTION."""
    for chosen, known, what in ((name, LAYOUTS, "layout"), (format, FORMATS, "format")):
        if chosen not in known:
            raise bad_option(f"There is no {what} {chosen!r} to write. Choose one of: {', '.join(known)}.")
    return replace(LAYOUTS[name], format=format)


def planned(layout: Layout, seeds: range, kinds: Sequence[str]) -> Iterator[str]:
    """Every file that `synthesise` makes, by name."""
    return (path for seed in seeds for path in layout.paths(_name(seed), names_of(kinds)))


def synthesise(
    dataset: DataSet, layout: Layout, seeds: range, kinds: Sequence[str], spacing_mm: float | tuple[float, float, float]
) -> Iterator[int]:
    """Make the skulls of `seeds`, each with a defect of each kind, yielding each seed when its files are there; only what is missing is
    made.

    A skull is named by its seed; its i-th defect has the seed MOST_DEFECTS times the skull's, and i. A defect that does not fit a skull
    becomes two rows with its error.
    """
    for seed in seeds:
        if paths := _missing(dataset, layout, seed, kinds):
            with dataset.noting(_source(seed), *paths):
                _make(dataset, layout, seed, kinds, make_skull(seed, spacing_mm))
        yield seed


def _make(dataset: DataSet, layout: Layout, seed: int, kinds: Sequence[str], skull: BinaryVolume) -> None:
    complete, *rest = layout.paths(_name(seed), names_of(kinds))
    dataset.add(skull, complete, _source(seed), "generated")
    for i, (kind, defective, implant) in enumerate(zip(kinds, rest[::2], rest[1::2], strict=True)):
        with dataset.noting(_source(seed), defective, implant):
            defect = cut_defect(skull, MOST_DEFECTS * seed + i, kind)
            dataset.add(defect.defective, defective, _source(seed), defect.kind)
            dataset.add(defect.implant, implant, _source(seed), defect.kind)


def _missing(dataset: DataSet, layout: Layout, seed: int, kinds: Sequence[str]) -> list[str]:
    return [path for path in layout.paths(_name(seed), names_of(kinds)) if not dataset.has(path, _source(seed))]


def _name(seed: int) -> str:
    return f"{seed:03d}"


def _source(seed: int) -> str:
    return f"skull {seed}"
