"""What is sent: volumes of several sizes and bad bodies in given shares, all made from a seed before the clock starts."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from calvaria.bench.volumes import SKULL_FIELD_MM
from calvaria.errors import CalvariaError, bad_option
from calvaria.io import encode
from calvaria.synthetic import cut_defect, make_skull
from calvaria.volume import BinaryVolume
from loadtest.bad import BAD

CHOICES_STREAM = 2
OK = "ok"
"""The code of an answer that is a volume; others are values of ErrorCode."""
BAD_PREFIX = "bad:"
SHELL_PREFIX = "shell:"
SMALLEST, LARGEST = 16, 1024
"""Voxels along an edge. In fewer a head cannot be told from noise."""
DEFECTS_TRIED = 20
FORM = f"sizes, shells and bad bodies with weights, such as 64:5,128:3,256:1,shell:32:2,bad:garbage:0.5; the bad ones are {', '.join(BAD)}"


@dataclass(frozen=True)
class Ingredient:
    """A kind of request and its share of all, relative to the weights of the others.

    name  the voxels along each edge of a cube that holds a skull; `shell:` and the voxels of 1 mm along each edge of one that holds a
          hollow ball, which is less work than a head in voxels however large; or `bad:` and a name of BAD
    """

    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Ingredient":
        """From `128`, `128:3`, `bad:empty` or `bad:empty:0.5`; CalvariaError BAD_OPTION."""
        match = re.fullmatch(r"(\d+|shell:\d+|bad:[a-z-]+)(?::([0-9.]+))?", text.strip())
        try:
            ingredient = cls(match[1], float(match[2] or 1)) if match else None
        except ValueError:
            ingredient = None
        if ingredient is None or not ingredient.exists or not ingredient.weight > 0:
            raise bad_option(f"A workload cannot have {text!r}. Name {FORM}.")
        return ingredient

    @property
    def bad(self) -> bool:
        return self.name.startswith(BAD_PREFIX)

    @property
    def exists(self) -> bool:
        return self.name.removeprefix(BAD_PREFIX) in BAD if self.bad else SMALLEST <= self.voxels <= LARGEST

    @property
    def shell(self) -> bool:
        return self.name.startswith(SHELL_PREFIX)

    @property
    def voxels(self) -> int:
        """Voxels along an edge; not for bad ones."""
        return int(self.name.removeprefix(SHELL_PREFIX))


@dataclass(frozen=True, eq=False)
class Item:
    """A request as it is sent. `variant` tells those of one ingredient apart; `expected` are the codes that are right for it."""

    ingredient: str
    variant: int
    body: bytes = field(repr=False)
    options: dict[str, str]
    expected: tuple[str, ...] = (OK,)


def parse_mix(text: str) -> list[Ingredient]:
    """See FORM; CalvariaError BAD_OPTION, also where one is named twice."""
    mix = [Ingredient.parse(part) for part in text.split(",")]
    if len({ingredient.name for ingredient in mix}) < len(mix):
        raise bad_option(f"The workload {text!r} names an ingredient twice: give each one weight.")
    return mix


def make_item(ingredient: Ingredient, variant: int, seed: int, options: dict[str, str]) -> Item:
    """One variant with a request's options as text; the same body for the same seed."""
    if ingredient.bad:
        bad = BAD[ingredient.name.removeprefix(BAD_PREFIX)]
        codes = tuple(code.value for code in bad.codes)
        return Item(ingredient.name, variant, bad.body(seed + variant), options | bad.options, codes)
    make = open_shell if ingredient.shell else defective_skull
    volume = make(ingredient.voxels, seed + variant)
    return Item(ingredient.name, variant, encode(volume, "nrrd"), options)


def defective_skull(size: int, seed: int) -> BinaryVolume:
    """The skull of a seed in a cube of `size` voxels an edge, 204.8 mm wide, with a defect."""
    skull = make_skull(seed, SKULL_FIELD_MM / size, (size, size, size))
    for defect_seed in range(seed, seed + DEFECTS_TRIED):
        with suppress(CalvariaError):  # this one lies beyond the edge of the cube
            return cut_defect(skull, defect_seed).defective
    return cut_defect(skull, seed + DEFECTS_TRIED).defective


def open_shell(size: int, seed: int) -> BinaryVolume:
    """A hollow ball in a cube of `size` voxels of 1 mm an edge, less what lies in a smaller ball somewhere on it."""
    axis = np.linspace(-1, 1, size)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    radius = np.sqrt((places**2).sum(0))
    hole = np.random.default_rng(seed).normal(size=3)
    hole *= 0.8 / np.linalg.norm(hole)
    away = np.sqrt(((places - hole[:, None, None, None]) ** 2).sum(0))
    return BinaryVolume.on_grid((abs(radius - 0.8) < 0.12) & (away > 0.4), (1.0, 1.0, 1.0))


def choices(mix: Sequence[Ingredient], variants: int, transports: Sequence[str], seed: int) -> Iterator[tuple[int, int, str]]:
    """For every request in turn, for ever: which ingredient (its place in the mix), which variant of it, and the transport."""
    rng = np.random.default_rng([seed, CHOICES_STREAM])
    edges = np.cumsum([ingredient.weight for ingredient in mix])
    while True:
        which, variant, transport = rng.random(3)
        place = int(np.searchsorted(edges / edges[-1], which, side="right"))
        yield min(place, len(mix) - 1), int(variant * variants), transports[int(transport * len(transports))]
