"""Folders of defective skulls with their truths: SkullBreak's layout, SkullFix's, and plain pairs.

SkullBreak, SkullFix: Kodym et al., Data in Brief 35 (2021), doi 10.1016/j.dib.2021.106902.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calvaria.datasets.files import VOLUMES, by_stem, folders, put
from calvaria.datasets.index import SETTINGS
from calvaria.datasets.reading import read_logged, seen_along
from calvaria.errors import bad_option
from calvaria.volume import BinaryVolume

LOOKED_FOR = (
    "defective_skull/CLASS/NAME.nrrd with complete_skull/NAME.nrrd or implant/CLASS/NAME.nrrd (SkullBreak); "
    "defective_skull/NAME.nrrd with complete_skull/NAME.nrrd or implant/NAME.nrrd (SkullFix, or any folders called defective, "
    "complete and implant); NAME/defective.nrrd or SKULL/NAME/defective.nrrd with implant.nrrd or complete.nrrd beside it (pairs); "
    "NAME_defective.nrrd with NAME_implant.nrrd or NAME_complete.nrrd (pairs in one folder)"
)

_ROLE = re.compile(r"(defective|complete|implant)(?:s|_skulls?)?", re.IGNORECASE)
_NAME_AND_ROLE = re.compile(r"(.+)[-_. ](defective|complete|implant)|(defective|complete|implant)[-_. ](.+)", re.IGNORECASE)
_CLASS = "bilateral|frontoorbital|parietotemporal|random(?:[-_]?[12])?"
_NAME_AND_CLASS = re.compile(rf"(.+)[-_. ](?:{_CLASS})|(?:{_CLASS})[-_. ](.+)", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A defective skull and where its truth lies; nothing is read until `read`.

    name   unique in its folder, such as "random_1/017"
    skull  the head it is of: several pairs may share it, and a split must not part them
    kind   the class of its defect; "" where the layout has none
    """

    name: str
    skull: str
    kind: str
    defective: Path
    complete: Path | None = None
    implant: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """The files there are."""
        return [path for path in (self.defective, self.complete, self.implant) if path]

    def read(self) -> tuple[BinaryVolume, BinaryVolume]:
        """The defective skull and its implant on one grid, disjoint.

        The implant is the file's, or the complete skull's, without what the defective skull has already. Raises what `io.read` raises;
        BAD_OPTION without a truth; BAD_GEOMETRY where the files lie on different voxels.
        """
        truth = self.implant or self.complete
        if not truth:
            raise bad_option(f"{self.name} has neither an implant nor a complete skull to compare with.")
        defective, whole_or_piece = read_logged(self.defective), read_logged(truth)
        return defective, defective.like(seen_along(self.defective, defective, truth, whole_or_piece) & ~defective.mask)


def pairs(folder: Path | str) -> list[Pair]:
    """The cases of a folder in any layout of `LOOKED_FOR`, by name; no file is opened.

    BAD_OPTION for a folder in none of them, naming a folder inside that is in one, and for one that holds the same heads at several
    resolutions.
    """
    settings = Path(folder) / SETTINGS
    if settings.exists() and '"resolutions"' in settings.read_text(errors="replace"):  # what `calvaria prepare` made
        within = ", ".join(str(each) for each in folders(Path(folder)))
        raise bad_option(f"{folder} holds heads in a folder for each resolution. Choose one of: {within}.")
    found = cases_in(Path(folder), VOLUMES)
    if found:
        return found
    inside = [path for path in folders(Path(folder)) if cases_in(path, VOLUMES)]
    hint = f" Inside it, these are: {', '.join(map(str, inside))}." if inside else ""
    raise bad_option(f"{folder} holds no cases in a layout that is known. Looked for: {LOOKED_FOR}.{hint}")


def cases_in(folder: Path, suffixes: Sequence[str]) -> list[Pair]:
    """As `pairs`, of files that end in one of `suffixes`, but none where the folder is in no known layout; pairs beside its folders are
    cases, too.

    BAD_OPTION where two files or folders of one role compete, or two cases have one name.
    """
    parallel = _roles(folders(folder), [path.name for path in folders(folder)])
    found: dict[str, Pair] = {}
    for pair in (*(_parallel(parallel, suffixes) if _complete(parallel) else _folder_each(folder, suffixes)), *_flat(folder, suffixes)):
        if other := found.get(pair.name):
            raise bad_option(f"{other.defective} and {pair.defective} are both case {pair.name}; rename one of them.")
        found[pair.name] = pair
    return [found[name] for name in sorted(found)]


def _parallel(roles: dict[str, Path], suffixes: Sequence[str]) -> Iterator[Pair]:
    """One folder for each role; in it files, or a folder of files for each class of defect. A complete skull may serve all classes."""
    for kind in ("", *(path.name for path in folders(roles["defective"]))):
        names = {role: _by_name(path / kind, suffixes) if (path / kind).is_dir() else {} for role, path in roles.items()}
        shared = _by_name(roles["complete"], suffixes) if "complete" in roles else {}
        for skull, defective in names["defective"].items():
            complete = names.get("complete", {}).get(skull) or shared.get(skull)
            yield Pair(f"{kind}/{skull}" if kind else skull, head_of(skull), kind, defective, complete, names.get("implant", {}).get(skull))


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by whose they are, although their names may also say what they hold. BAD_OPTION where two are one's."""
    found: dict[str, Path] = {}
    for stem, path in by_stem(folder, suffixes).items():
        match = _NAME_AND_ROLE.fullmatch(stem)
        put(found, (match[1] or match[4]) if match else stem, path)
    return found


def _folder_each(folder: Path, suffixes: Sequence[str]) -> Iterator[Pair]:
    """One folder for each case, or one for each skull with one for each of its defects; a skull's folder may hold the complete skull."""
    found, without = 0, []
    for outer in folders(folder):
        shared = _files(outer, suffixes)
        for inner in ([outer] if "defective" in shared else []) + folders(outer) or [outer]:
            kind, files = (inner.name, _files(inner, suffixes)) if inner != outer else ("", shared)
            if "defective" in files:
                found += 1
                name = f"{outer.name}/{kind}" if kind else outer.name
                skull, kind = (kind, outer.name) if kind and re.fullmatch(_CLASS, outer.name, re.IGNORECASE) else (outer.name, kind)
                yield Pair(name, skull, kind, files["defective"], files.get("complete") or shared.get("complete"), files.get("implant"))
            elif "defective" not in shared:
                without.append(inner)
    if found and without:
        _log.warning("No file called defective%s in %s.", "|".join(suffixes), ", ".join(map(str, without)))


def _flat(folder: Path, suffixes: Sequence[str]) -> Iterator[Pair]:
    """All in one folder: a file's name says whose it is and what it holds."""
    cases: dict[str, dict[str, Path]] = {}
    for stem, path in by_stem(folder, suffixes).items():
        if match := _NAME_AND_ROLE.fullmatch(stem):
            put(cases.setdefault(match[1] or match[4], {}), (match[2] or match[3]).lower(), path)
    for name, files in cases.items():
        if "defective" in files:
            yield Pair(name, head_of(name), "", files["defective"], files.get("complete"), files.get("implant"))


def head_of(name: str) -> str:
    """Whose a file is: its name without a class of defect before or behind it."""
    match = _NAME_AND_CLASS.fullmatch(name)
    return (match[1] or match[2]) if match else name


def _files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found = by_stem(folder, suffixes)
    return _roles(list(found.values()), list(found))


def _roles(paths: list[Path], names: list[str]) -> dict[str, Path]:
    """Paths by what their names say they hold; BAD_OPTION where two say the same."""
    roles: dict[str, Path] = {}
    for path, name in zip(paths, names, strict=True):
        if match := _ROLE.fullmatch(name):
            put(roles, match[1].lower(), path)
    return roles


def _complete(roles: dict[str, Path]) -> bool:
    return "defective" in roles and len(roles) > 1
