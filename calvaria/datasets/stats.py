"""How sparse skulls are: all voxels against occupied voxels by resolution, and the sites a network has by stride.

The occupancy figure of Li et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-47437-6.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from calvaria.datasets.files import MESHES, VOLUMES, log_warnings, suffix_of, walk
from calvaria.datasets.meshes import MESH_SIZES, Grid, box_of, read_mesh
from calvaria.datasets.reading import read_logged
from calvaria.datasets.series import RESOLUTIONS, own_resolution, series
from calvaria.datasets.voxelise import voxelise
from calvaria.errors import bad_option
from calvaria.files import make_folder, replacing, write_file, writing
from calvaria.sparse.sites import SiteSet
from calvaria.volume import BinaryVolume, Mask

STRIDES = (1, 2, 4, 8, 16, 32, 64)
PAPER = "the paper: 3 to 9 % occupied; all voxels grow cubically, occupied ones about quadratically"


@dataclass(frozen=True)
class Count:
    """A volume at one resolution: how many voxels there are, and how many are occupied. `own`: at its own, which was not asked for."""

    volume: str
    resolution: int
    shape: tuple[int, ...]
    voxels: int
    occupied: int
    own: bool = False

    @property
    def percent(self) -> float:
        return 100 * self.occupied / self.voxels


@dataclass(frozen=True)
class Statistics:
    """One volume's counts by resolution, coarsest first, and its sites at the finest by stride, 1 to 64."""

    counts: tuple[Count, ...]
    sites: tuple[int, ...]

    def exponents(self) -> tuple[float, float]:
        """Powers of the resolution with which all voxels and occupied voxels grow: least squares of their logarithms; NaN where there are
        not two resolutions with something occupied."""
        seen = [count for count in self.counts if count.occupied]
        if len(seen) < 2:
            return float("nan"), float("nan")
        across = np.log([count.resolution for count in seen])
        every, some = (np.polyfit(across, np.log(values), 1)[0] for values in zip(*((c.voxels, c.occupied) for c in seen), strict=True))
        return float(every), float(some)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The volumes and meshes among these files and in these folders. BAD_OPTION where there are none."""
    found = [file for path in paths for file in (walk(path, VOLUMES + MESHES) if path.is_dir() else [path])]
    if not found:
        raise bad_option(f"There is nothing to count: no file ends in {', '.join(VOLUMES + MESHES)}.")
    return found


def measure(path: Path, resolutions: Sequence[int] = RESOLUTIONS, rule: str = "nearest") -> Statistics:
    """Count a mask at each resolution that is not finer than its own, and at its own; a mesh at 30³ to 120³. See `series.resampled`."""
    counts = []
    asked = sorted(set(MESH_SIZES if suffix_of(path, MESHES) else resolutions))
    for resolution, volume in _at(path, asked, rule):
        finest = volume
        counts.append(Count(str(path), resolution, volume.shape, prod(volume.shape), volume.occupied, resolution not in asked))
    return Statistics(tuple(counts), sites_by_stride(finest.mask))


def sites_by_stride(mask: Mask) -> tuple[int, ...]:
    """How many sites a network has at strides 1, 2, 4 … 64: cells in which anything is occupied."""
    sites, counts = SiteSet.from_masks([torch.from_numpy(np.ascontiguousarray(mask))]), []
    for _ in STRIDES:
        counts.append(len(sites))
        sites = sites.parents
    return tuple(counts)


@dataclass(frozen=True)
class Level:
    """What there is of several volumes at one resolution, or at their own ones."""

    counts: tuple[Count, ...]

    @property
    def label(self) -> str:
        return f"own, {self.across:.0f}" if self.counts[0].own else f"{self.across:.0f}"

    @property
    def across(self) -> float:
        """Mean number of voxels across a slice."""
        return float(np.mean([count.resolution for count in self.counts]))

    @property
    def voxels(self) -> float:
        return float(np.mean([count.voxels for count in self.counts]))

    @property
    def occupied(self) -> float:
        return float(np.mean([count.occupied for count in self.counts]))

    @property
    def percents(self) -> list[float]:
        return [count.percent for count in self.counts]


def levels(found: Sequence[Statistics]) -> list[Level]:
    """The counts of all volumes, resolution by resolution, their own ones last."""
    counts = [count for statistics in found for count in statistics.counts]
    asked = sorted({count.resolution for count in counts if not count.own})
    groups = [[count for count in counts if count.resolution == each and not count.own] for each in asked]
    return [Level(tuple(group)) for group in (*groups, [count for count in counts if count.own]) if group]


def mean_exponents(found: Sequence[Statistics]) -> tuple[float, float]:
    """Means over volumes; NaN where none has two resolutions."""
    known = [exponents for exponents in (statistics.exponents() for statistics in found) if not np.isnan(exponents[0])]
    every, some = np.mean(known, axis=0).tolist() if known else (float("nan"), float("nan"))
    return every, some


def tables(found: Sequence[Statistics], rule: str) -> tuple[Table, Table]:
    """Means over volumes: voxels by resolution, and sites by stride with how many of the coarser cells a site shares."""
    voxels = Table(title=f"Voxels by resolution across a slice ({rule})")
    for heading in ("across", "volumes", "all voxels", "occupied", "%", "least", "most"):
        voxels.add_column(heading, justify="right", no_wrap=True)
    for level in levels(found):
        numbers = f"{len(level.counts)}", f"{level.voxels:,.0f}", f"{level.occupied:,.0f}"
        shares = np.mean(level.percents), min(level.percents), max(level.percents)
        voxels.add_row(level.label, *numbers, *(f"{share:.2f}" for share in shares))
    sites = Table(title="Sites by stride, at the finest resolution")
    for heading in ("stride", "sites", "power of stride"):
        sites.add_column(heading, justify="right", no_wrap=True)
    means = np.mean([statistics.sites for statistics in found], axis=0)
    for i, (stride, mean) in enumerate(zip(STRIDES, means, strict=True)):
        sites.add_row(f"{stride}", f"{mean:,.0f}", f"{np.log2(mean / means[i - 1]):.2f}" if i and mean else "")
    return voxels, sites


def sentence(found: Sequence[Statistics], rule: str) -> str:
    """The fitted exponents beside the paper's, and what the rule has to do with them."""
    every, some = mean_exponents(found)
    if np.isnan(every):
        return "Growth cannot be fitted: no volume has two resolutions with something occupied."
    fitted = f"All voxels grow with the resolution to the power of {every:.2f}, occupied voxels to the power of {some:.2f} ({PAPER})."
    if rule == "any":
        return fitted
    return f"{fitted} By {rule}, the share of bone is nearly the same at every resolution; --rule any counts cells that hold any of it."


def write_csv(path: Path, found: Sequence[Statistics]) -> None:
    """A row for each volume and resolution."""
    make_folder(path.parent)
    with writing(path), replacing(path) as unfinished, unfinished.open("w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["volume", "resolution", "shape", "voxels", "occupied", "percent"])
        for count in (count for statistics in found for count in statistics.counts):
            shape = " ".join(map(str, count.shape))
            writer.writerow([count.volume, count.resolution, shape, count.voxels, count.occupied, f"{count.percent:.4f}"])


def write_json(path: Path, found: Sequence[Statistics], rule: str) -> None:
    """Everything: counts, sites by stride and exponents of each volume, and the means."""
    each = [asdict(statistics) | {"exponents": _numbers(statistics.exponents())} for statistics in found]
    content = {"rule": rule, "strides": STRIDES, "volumes": each, "mean_exponents": _numbers(mean_exponents(found))}
    make_folder(path.parent)
    write_file(path, json.dumps(content, indent=1).encode() + b"\n")


def _numbers(exponents: tuple[float, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in zip(("voxels", "occupied"), exponents, strict=True)}


def _at(path: Path, resolutions: Sequence[int], rule: str) -> Iterator[tuple[int, BinaryVolume]]:
    """The volume of a file at its resolutions, finest last, one at a time in memory."""
    if suffix_of(path, MESHES):
        mesh = read_mesh(path)
        log_warnings(path, mesh.warnings)
        yield from ((cells, voxelise(mesh, Grid.cube(box_of(mesh), cells), name=str(path))) for cells in resolutions)
        return
    volume = read_logged(path)
    own = own_resolution(volume)
    yield from series(volume, [each for each in resolutions if each < own], rule)
    yield own, volume
