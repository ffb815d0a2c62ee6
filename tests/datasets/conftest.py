"""Folders of small skulls in the layouts there are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calvaria.io import write
from calvaria.volume import BinaryVolume


def shell() -> np.ndarray:
    radius = np.linalg.norm(np.moveaxis(np.indices((14, 16, 12)), 0, -1) - [7, 8, 6], axis=-1)
    return (radius < 5.6) & (radius > 3.4)


@pytest.fixture
def complete() -> BinaryVolume:
    return BinaryVolume.on_grid(shell(), (1.5, 1.5, 2.0), (-10, 5, 30))


@pytest.fixture
def implant(complete: BinaryVolume) -> BinaryVolume:
    piece = complete.mask.copy()
    piece[:, :, :9] = False
    return complete.like(piece)


@pytest.fixture
def defective(complete: BinaryVolume, implant: BinaryVolume) -> BinaryVolume:
    return complete.like(complete.mask & ~implant.mask)


@pytest.fixture
def lay(tmp_path: Path, complete: BinaryVolume, defective: BinaryVolume, implant: BinaryVolume) -> Callable[..., Path]:
    """Writes files named by their paths, each with the volume that the path's last role names, and gives the folder."""
    volumes = {"complete": complete, "defective": defective, "implant": implant}

    def write_all(*names: str, folder: str = "data") -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, volumes[max(volumes, key=lambda role: name.lower().rfind(role))])
        return tmp_path / folder

    return write_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where sources lie."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"
