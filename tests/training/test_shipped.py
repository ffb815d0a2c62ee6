"""The configurations in models/, of every task."""

from dataclasses import fields
from pathlib import Path

import pytest

from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.lessons import LESSONS, READ_BY_ALL

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_they_are_read(path: Path, tmp_path: Path) -> None:
    config = TrainConfig.read(path)
    assert config.task == path.parent.name
    LESSONS[config.task].check(config)
    mistyped = tmp_path / "train.toml"
    mistyped.write_text(path.read_text().replace("spacing_mm", "spacing"))
    with pytest.raises(ValueError, match="unknown spacing; known are spacing_mm"):
        TrainConfig.read(mistyped)


def test_whatever_can_be_said_of_data_some_task_heeds() -> None:
    assert READ_BY_ALL.union(*(lesson.reads for lesson in LESSONS.values())) == {field.name for field in fields(DataConfig)}


@pytest.mark.parametrize("name", [field.name for field in fields(DataConfig) if isinstance(field.default, float) and field.name != "finer"])
def test_a_share_of_data_is_at_most_all_of_it(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be 1.5; it is from 0 to "):
        DataConfig(skulls=1, **{name: 1.5})


@pytest.mark.parametrize(
    ("written", "instead", "named"),
    [
        ("batch = 4", "batch = '4'", "batch"),
        ("steps = 8000", "steps = -8", "steps"),
        ("seed = 1", "seed = 'a'", "seed"),
        ("validate_every = 500", "validate_every = 0", "validate_every"),
        ("spacing_mm = 3.0", "spacing_mm = -3", "spacing_mm"),
        ("intact = 0.05", "intact = -1", "intact"),
        ("mirrored = true", "mirrored = 1", "mirrored"),
        ("mirrored = true", "mirrored = true\nthreshold = 3", "threshold"),
        ("intact = 0.05", "intact = 5", "intact"),
        ("stretch = 0.08", "stretch = 2.0", "stretch"),
        ("finer = 2.4", "finer = 0", "finer"),
        ("spacing_mm = 3.0", "spacing_mm = nan", "spacing_mm"),
        ("spacing_mm = 3.0", "spacing_mm = 50", "spacing_mm"),
        ("spacing_mm = 3.0", "spacing_mm = {}", "spacing_mm"),
        ("learning_rate = 2e-3", "learning_rate = inf", "learning_rate"),
        ("warmup = 200", "warmup = 200\nweight_decay = -1.0", "weight_decay"),
        ("seed = 1", "seed = 1\nuntil = 0", "until"),
        ("stretch = 0.08", 'stretch = 0.08\nwithout = "small"', "without"),
        ("stretch = 0.08", "stretch = 0.08\nwithout = [1]", "without"),
        ("channels = [16, 32,", "channels = [8.5, 32,", "channels"),
        ("added_weight = 2.0", "added_weight = 0", "added_weight"),
        ("inputs = 1 ", "inputs = -1 ", "inputs"),
        ("keep_above = -2.0", "keep_above = -inf", "keep_above"),
        ("keep_above = -2.0", "growth = nan", "growth"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(written: str, instead: str, named: str, tmp_path: Path) -> None:
    text = (MODELS / "completion" / "train.toml").read_text()
    assert written in text
    (tmp_path / "train.toml").write_text(text.replace(written, instead))
    with pytest.raises(ValueError, match=f"{named} cannot be"):
        TrainConfig.read(tmp_path / "train.toml")
