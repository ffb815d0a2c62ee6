"""What several files need: a folder in which the small run's skulls are made already."""

from pathlib import Path

import pytest

from calvaria.training.examples import training_seeds, validation_seeds
from calvaria.training.skulls import store
from tests.training.small_run import CONFIG


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds the skulls of `CONFIG`."""
    folder = tmp_path_factory.mktemp("runs")
    assert list(store(CONFIG, folder / "any").make([*training_seeds(CONFIG), *validation_seeds(CONFIG)], workers=2))
    return folder
