"""The configurations in models/, of every task."""

from pathlib import Path

import pytest

from calvaria.tasks import closeup, refinement, super_resolution
from calvaria.training.config import TrainConfig
from calvaria.training.lessons import LESSONS

MODELS = Path(__file__).parents[2] / "models"
INPUTS = {"super-resolution": super_resolution.INPUTS, "refinement": refinement.INPUTS}
"""Of a task's first network, where it is one number; a second one's are `closeup.INPUTS`."""


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_they_are_read(path: Path, tmp_path: Path) -> None:
    config = TrainConfig.read(path)
    assert config.task == path.parent.name
    assert config.task in LESSONS
    if config.task in INPUTS:
        assert config.network.inputs == INPUTS[config.task]
    else:
        assert (config.network.inputs == closeup.INPUTS) == config.second
    mistyped = tmp_path / "train.toml"
    mistyped.write_text(path.read_text().replace("spacing_mm", "spacing"))
    with pytest.raises(ValueError, match="unknown spacing; known are spacing_mm"):
        TrainConfig.read(mistyped)


@pytest.mark.parametrize("path", sorted((MODELS / "refinement").glob("*.toml")), ids=lambda path: path.name)
def test_refinement_learns_from_no_mirrored_chest(path: Path) -> None:
    """A place is told from the left."""
    data = TrainConfig.read(path).data
    assert not (data.distinct and data.mirrored)
