"""The masks that engines are compared on: from a file, or generated from a short description."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import bad_option
from calvaria.io import read
from calvaria.synthetic import make_skull
from calvaria.volume import Mask

SKULL_SEED = 37
SKULL_FIELD_MM = 204.8
"""Width of the cube that `skull:N` samples: 0.4 mm at 512³, where the skull of the default seed has about 7 million voxels."""

MOST_CELLS = 1024

FORMS = "a file, skull:SIZE[:SEED], shell:SIZE, noise:SHARE:SIZE, one:SIZE or full:SIZE, such as skull:512 or noise:0.05:128"


def masks(volume: str, batch: int) -> list[Mask]:
    """`batch` masks [X, Y, Z] of a description (see `FORMS`): noise differs from item to item, anything else is repeated.

    CalvariaError BAD_OPTION where it is neither a file nor such a description.
    """
    kind, *arguments = volume.split(":")
    if Path(volume).exists() or kind not in _GENERATORS:
        return [_from_file(Path(volume))] * batch
    try:
        return _GENERATORS[kind](batch, *arguments)
    except (TypeError, ValueError) as error:
        raise bad_option(f"{volume!r} describes no volume: name {FORMS}.") from error


def save(path: Path, items: list[Mask]) -> None:
    """Write masks packed to bits, so that reading them again costs little time and memory."""
    arrays: dict[str, NDArray[np.generic]] = {f"bits{i}": np.packbits(item) for i, item in enumerate(items)}
    np.savez(path, shapes=np.array([item.shape for item in items]), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> list[Mask]:
    """What `save` wrote, in C order."""
    with np.load(path) as file:
        shapes = [tuple(shape) for shape in file["shapes"].tolist()]
        return [np.unpackbits(file[f"bits{i}"], count=int(np.prod(shape))).view(np.bool_).reshape(shape) for i, shape in enumerate(shapes)]


def _from_file(path: Path) -> Mask:
    if not path.exists():
        raise bad_option(f"There is no file {str(path)!r}. Name {FORMS}.")
    return read(path).volume.mask


def _cells(size: str) -> int:
    """Voxels along an axis; ValueError unless there is one, BAD_OPTION for too many."""
    if int(size) < 1:
        raise ValueError(size)
    if int(size) > MOST_CELLS:
        raise bad_option(f"{size} voxels along an axis are too many; {MOST_CELLS} are the most.")
    return int(size)


def _skull(batch: int, size: str, seed: str = str(SKULL_SEED)) -> list[Mask]:
    cells = _cells(size)
    return [make_skull(int(seed), SKULL_FIELD_MM / cells, (cells, cells, cells)).mask] * batch


def _shell(batch: int, size: str) -> list[Mask]:
    """A sphere's surface, two voxels thick."""
    cells = _cells(size)
    squares = (np.arange(cells) - cells / 2 + 0.5) ** 2
    distance = np.sqrt(squares[:, None, None] + squares[None, :, None] + squares)
    return [np.abs(distance - 0.4 * cells) < 1] * batch


def _noise(batch: int, share: str, size: str) -> list[Mask]:
    if not 0 <= float(share) <= 1:
        raise ValueError(share)
    return [np.random.default_rng(item).random((_cells(size),) * 3, dtype=np.float32) < float(share) for item in range(batch)]


def _one(batch: int, size: str) -> list[Mask]:
    mask = np.zeros((_cells(size),) * 3, dtype=np.bool_)
    mask[(_cells(size) // 2,) * 3] = True
    return [mask] * batch


def _full(batch: int, size: str) -> list[Mask]:
    return [np.ones((_cells(size),) * 3, dtype=np.bool_)] * batch


_GENERATORS: dict[str, Callable[..., list[Mask]]] = {"skull": _skull, "shell": _shell, "noise": _noise, "one": _one, "full": _full}
