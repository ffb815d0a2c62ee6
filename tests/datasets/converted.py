"""Folders converted as `calvaria prepare` does, and what they are made of."""

from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from calvaria.datasets.index import DataSet, Row, read_index
from calvaria.datasets.prepare import Recipe, plan, prepare


def make(folder: Path, out: Path, recipe: Recipe = Recipe()) -> dict[str, Row]:
    """The rows of a converted folder by name."""
    dataset = DataSet(out, {})
    for _ in prepare(folder, dataset, plan(folder, out, recipe), recipe):
        pass
    dataset.sort()
    return {row.name: row for row in read_index(out)}


def ct(folder: Path, name: str, samples: NDArray[Any]) -> Path:
    """A file of these samples with voxels of 1, 1 and 2 mm."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), samples, {"space": "LPS", "space directions": np.diag([1.0, 1.0, 2.0]), "space origin": [0.0, 1.0, 2.0]})
    return path
