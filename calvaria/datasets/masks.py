"""Folders of rough masks with the right ones and, where there are any, the scans that they were drawn in."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calvaria.companion import scan_beside
from calvaria.datasets.files import VOLUMES, by_stem, folders, log_warnings, put, way_to
from calvaria.datasets.reading import seen_along
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.io import read, read_image
from calvaria.volume import BinaryVolume

ROUGH, RIGHT, SCAN = "rough", "right", "scan"

LOOKED_FOR = (
    "rough/NAME.nrrd with right/NAME.nrrd, or NAME/rough.nrrd with NAME/right.nrrd; scan/NAME.nrrd or NAME/scan.nrrd beside them or not"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskPair:
    """A rough mask, the right one, and perhaps the scan; nothing is read until `read`."""

    name: str
    rough: Path
    right: Path
    scan: Path | None = None

    @property
    def skull(self) -> str:
        """Whose it is, as far as is known: cases of one person must not be parted by a split."""
        return self.name

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files there are."""
        return (self.rough, self.right, *([self.scan] if self.scan else []))

    def read(self) -> tuple[BinaryVolume, BinaryVolume, NDArray[Any] | None]:
        """The rough mask, the right one, and the scan's samples [X, Y, Z], HU, all on the rough mask's grid.

        Raises what `io.read` raises; NOT_BINARY where a file holds several labels, since organs are scored one by one; BAD_GEOMETRY where
        the files lie on different voxels; NOT_HOUNSFIELD.
        """
        rough, right = _one_mask(self.rough), _one_mask(self.right)
        return rough, rough.like(seen_along(self.rough, rough, self.right, right)), self._image(rough) if self.scan else None

    def _image(self, rough: BinaryVolume) -> NDArray[Any]:
        assert self.scan
        image = read_image(self.scan)
        log_warnings(self.scan, image.warnings)
        try:
            return scan_beside(image, rough)
        except CalvariaError as error:
            raise CalvariaError(error.code, f"{self.scan}, the scan beside {self.rough}, is refused: {error.message}") from error


def _one_mask(path: Path) -> BinaryVolume:
    decoded = read(path)
    if decoded.merged:
        message = f"{path} holds the labels {', '.join(map(str, decoded.merged))}, and masks are compared one by one."
        hint = "Make masks of each, and keep their scans, with `calvaria prepare FOLDER --label N --out DATA`: they lie in DATA/native."
        raise CalvariaError(ErrorCode.NOT_BINARY, f"{message} {hint}")
    log_warnings(path, decoded.warnings)
    return decoded.volume


def mask_pairs(folder: Path | str) -> list[MaskPair]:
    """The cases of a folder in one of the layouts of `LOOKED_FOR`, by name; no file is opened.

    BAD_OPTION for a folder in neither of them, and where a case has a rough mask and no right one. Right masks without a rough one are
    passed over, and said to be.
    """
    folder = Path(folder)
    found, alone = _cases(folder)
    if not found:
        inside = ", ".join(str(path) for path in folders(folder) if _cases(path)[0])
        hint = f" Inside it, these are: {inside}." if inside else ""
        raise bad_option(f"{folder} holds no cases in a layout that is known. Looked for: {LOOKED_FOR}.{hint}")
    if without := [name for name, files in found.items() if RIGHT not in files]:
        raise bad_option(f"{folder} holds no right mask for {', '.join(without[:5])}. Looked for: {LOOKED_FOR}.")
    if alone:
        _log.warning("Passed over, without a rough mask: %s.", ", ".join(map(str, alone)))
    return [MaskPair(name, files[ROUGH], files[RIGHT], files.get(SCAN)) for name, files in sorted(found.items())]


def scans_in(folder: Path, above: frozenset[Path] = frozenset()) -> set[Path]:
    """The scans beside rough masks in a folder, or in folders in it, that are in such a layout. `above`: see `files.way_to`."""
    try:
        found, _ = _cases(folder)
    except CalvariaError as error:
        _log.warning("%s Until then, no file of %s is taken for a scan beside masks.", error, folder)
        return set()
    if found:
        return {files[SCAN] for files in found.values() if SCAN in files}
    way = way_to(folder, above)
    inside = [scans_in(path, way) for path in folders(folder) if path.resolve() not in way]
    return set().union(*inside)


def _cases(folder: Path) -> tuple[dict[str, dict[str, Path]], list[Path]]:
    """Files by role by name where there is a rough one, in one of the layouts, and right masks that have none."""
    for cases in (_parallel(folder), _folder_each(folder)):
        if found := {name: files for name, files in cases.items() if ROUGH in files}:
            return found, [files[RIGHT] for name, files in sorted(cases.items()) if name not in found and RIGHT in files]
    return {}, []


def _parallel(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by role by name, from a folder for each role."""
    cases: dict[str, dict[str, Path]] = {}
    for path in folders(folder):
        if (role := path.name.lower()) in (ROUGH, RIGHT, SCAN):
            for name, file in by_stem(path, VOLUMES).items():
                put(cases.setdefault(name, {}), role, file)
    return cases


def _folder_each(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by role by name, from a folder for each case."""
    cases: dict[str, dict[str, Path]] = {}
    for inner in folders(folder):
        for stem, file in by_stem(inner, VOLUMES).items():
            put(cases.setdefault(inner.name, {}), stem.lower(), file)
    return cases
