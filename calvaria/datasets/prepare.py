"""A folder of CT, masks and meshes to a data set of masks: one file after the other, going on where it stopped."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.datasets.files import MESHES, VOLUMES, folders, log_warnings, stem_of, suffix_of, tell_unread, walk, way_to
from calvaria.datasets.index import DataSet
from calvaria.datasets.layouts import cases_in
from calvaria.datasets.masks import scans_in
from calvaria.datasets.meshes import MESH_SIZES, Extent, Grid, Mesh, box_around, box_of, read_mesh
from calvaria.datasets.series import check_rule, counts_at, own_resolution, resampled
from calvaria.datasets.voxelise import voxelise
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.io import as_mask, read_image
from calvaria.threshold import threshold
from calvaria.volume import BinaryVolume

NATIVE = "native"
"""The folder of volumes at their own resolution."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What a data set is made by.

    hu           what reaches it in a CT is bone; masks are taken as they are
    offset_hu    what must be added to a CT's samples to make them Hounsfield units
    label        which value of a label map is the mask; None: whatever is above zero, and other volumes are CT
    resolutions  of volumes, voxels across an axial slice; empty: their own
    rule         how volumes are resampled, one of `series.RULES`
    meshes       meshes become this many voxels cubed, each of these
    shell        voxels that a mesh passes through, instead of those it encloses
    """

    hu: float = 300.0
    offset_hu: float = 0.0
    label: int | None = None
    resolutions: tuple[int, ...] = ()
    rule: str = "nearest"
    meshes: tuple[int, ...] = MESH_SIZES
    shell: bool = False


MOST_LABELS = 256
"""Most labels of a map, air among them."""

SEEN = 2**20
"""Voxels looked at, about, to see how much samples differ."""


@dataclass(frozen=True)
class Job:
    """One file to convert, and the files of its data set that come of it, by resolution; 0 is its own.

    scan  it lies beside a mask that was drawn in it, and is taken over as it is
    """

    source: Path
    name: str
    outputs: dict[int, str]
    scan: bool = False


def plan(folder: Path, out: Path, recipe: Recipe) -> list[Job]:
    """What is to be made of a folder: RESOLUTION/PATH.nrrd for each file and resolution, so that each keeps the folder's layout.

    BAD_OPTION for a folder that holds nothing to convert, and where what is made would overwrite what is converted.
    """
    check_rule(recipe.rule)
    tell_unread(Path(folder))
    out, here = Path(out).resolve(), Path(folder).resolve()
    if out == here:
        raise bad_option(f"{out} is the folder that is converted. Choose another --out.")
    made = None if here.is_relative_to(out) else out  # where all that it holds is a data set
    found = [path for path in walk(Path(folder), VOLUMES + MESHES) if made not in path.resolve().parents]
    if not found:
        raise bad_option(f"{folder} holds nothing to convert: no file in it ends in {', '.join(VOLUMES + MESHES)}.")
    scans, sources = scans_in(Path(folder)), {path.resolve() for path in found}
    jobs = [_job(path, Path(folder), recipe, path in scans) for path in found]
    if scans and recipe.resolutions:
        _log.warning("%d scans beside masks are left out: masks alone are resampled.", len(scans))
    if lost := [path for job in jobs for name in job.outputs.values() if (path := (out / name).resolve()) in sources]:
        raise bad_option(f"{lost[0]} is to be converted, and would be overwritten. Choose another --out.")
    return jobs


def prepare(folder: Path, dataset: DataSet, jobs: Sequence[Job], recipe: Recipe) -> Iterator[Job]:
    """Do what was planned, one job after the other, yielding each when it is done; only what is not there yet is made.

    What goes wrong with a file becomes a row with its error, and the next is begun. Meshes of one skull, where the folder has a layout of
    `layouts.pairs`, lie on one grid.
    """
    groups, first = _meshes_of_skulls(Path(folder)), dict[str, Path]()
    box = cache(_box)
    dataset.retain((name, job.name) for job in jobs for name in job.outputs.values())
    for job in jobs:
        together = groups.get(job.source, [job.source])
        others = [owner for name in job.outputs.values() if (owner := first.setdefault(name, job.source)) != job.source]
        missing = {size: name for size, name in job.outputs.items() if others or not dataset.has(name, job.name, together)}
        if missing:
            with dataset.noting(job.name, *missing.values()):
                if others:
                    raise bad_option(f"{others[0]} becomes the same file; rename one of them.")
                if job.scan:
                    dataset.keep(job.source, job.outputs[0], job.name, "scan", read_image(job.source))
                else:
                    _convert(job, missing, dataset, _subject(job.source, together, recipe, box), together)
        yield job


def _convert(job: Job, missing: dict[int, str], dataset: DataSet, subject: "_FromVolume | _FromMesh", together: list[Path]) -> None:
    """Write what is missing of a job. Its subject is held here alone, so that it is gone when the next is read."""
    for size, name in missing.items():
        with dataset.noting(job.name, name):
            dataset.add(subject.at(size), name, job.name, subject.kind, files=together)


@dataclass(frozen=True, eq=False)
class _FromVolume:
    """A mask, from a file of masks or thresholded from a CT."""

    volume: BinaryVolume
    kind: str
    rule: str

    def at(self, resolution: int) -> BinaryVolume:
        if not resolution:
            return self.volume
        if resolution > own_resolution(self.volume):
            raise bad_option(
                f"There are {own_resolution(self.volume)} voxels across a slice, fewer than the {resolution} asked for.",
            )
        return resampled(self.volume, counts_at(self.volume, resolution), self.rule)


@dataclass(frozen=True, eq=False)
class _FromMesh:
    surface: Mesh
    box: Extent
    shell: bool
    name: str
    kind: str = "mesh"

    def at(self, cells: int) -> BinaryVolume:
        return voxelise(self.surface, Grid.cube(self.box, cells), self.shell, self.name)


def _box(path: Path) -> Extent:
    return box_of(read_mesh(path))


def _subject(path: Path, together: list[Path], recipe: Recipe, box: Callable[[Path], Extent]) -> _FromVolume | _FromMesh:
    """What a file holds. `together`: the files that share its grid; `box`: gives the box of a mesh."""
    if suffix_of(path, MESHES):
        surface = read_mesh(path)
        log_warnings(path, surface.warnings)
        return _FromMesh(surface, box_around(map(box, together)), recipe.shell, str(path))
    image = read_image(path)
    label = None if _is_scan(image.samples) else recipe.label  # CT beside maps of labels has none
    try:
        decoded = as_mask(image, label)
        log_warnings(path, decoded.remarks if decoded.volume.occupied else [*decoded.remarks, "The mask is empty."])
        return _FromVolume(decoded.volume, "mask", recipe.rule)
    except CalvariaError as error:
        if error.code is not ErrorCode.NOT_BINARY or _is_share(image.samples):
            raise
        if not (_is_scan(image.samples) or recipe.offset_hu):
            hint = "If it is a map of labels, --label says which is the mask; if it is CT, --offset how it becomes Hounsfield units."
            raise CalvariaError(error.code, f"{error.message} {hint}") from error
    log_warnings(path, image.warnings)
    return _FromVolume(threshold(image, recipe.hu, recipe.offset_hu), "ct", recipe.rule)


def _is_share(samples: NDArray[Any]) -> bool:
    """Whether samples are from 0 to 1, as probabilities are."""
    return bool(samples.min() >= 0 and samples.max() <= 1)


def _is_scan(samples: NDArray[Any]) -> bool:
    """Whether samples are none of a map of labels: some lie below zero, or they differ more than labels can."""
    some = samples.reshape(-1, order="A")[:: max(1, samples.size // SEEN)]
    return bool(samples.min() < 0 or len(np.unique(some)) > MOST_LABELS)


def _meshes_of_skulls(folder: Path, above: frozenset[Path] = frozenset()) -> dict[Path, list[Path]]:
    """Each mesh in a known layout, of the folder or of folders in it, and all meshes of the same skull; others stand for themselves.

    So do, with a warning, those of a folder whose names can be read in two ways. `above`: see `files.way_to`.
    """
    skulls: dict[str, set[Path]] = {}
    try:
        for pair in cases_in(folder, MESHES):
            skulls.setdefault(pair.skull, set()).update(pair.paths)
    except CalvariaError as error:
        _log.warning("%s Until then, no meshes of %s share a grid.", error, folder)
    if not skulls:
        way = way_to(folder, above)
        inside = [path for path in folders(folder) if path.resolve() not in way]
        return {path: together for inner in inside for path, together in _meshes_of_skulls(inner, way).items()}
    return {path: sorted(meshes) for meshes in skulls.values() for path in meshes}


def _job(path: Path, folder: Path, recipe: Recipe, scan: bool) -> Job:
    name = path.relative_to(folder)
    if scan:
        return Job(path, name.as_posix(), {} if recipe.resolutions else {0: f"{NATIVE}/{name.as_posix()}"}, scan)
    stem = name.with_name(stem_of(path, VOLUMES + MESHES) + ".nrrd")
    sizes = recipe.meshes if suffix_of(path, MESHES) else recipe.resolutions or (0,)
    return Job(path, name.as_posix(), {size: f"{size or NATIVE}/{stem.as_posix()}" for size in sizes})
