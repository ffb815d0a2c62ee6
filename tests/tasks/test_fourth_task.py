"""Another task needs one file and one row: nothing on a request's way asks which task it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calvaria.cli import main
from calvaria.client.local import LocalClient
from calvaria.io import read, write
from calvaria.networks import CONFIGS, EncoderDecoder
from calvaria.predictor import Predictor
from calvaria.tasks import TASKS, Extras, Inferred, Prepared, Settings, Task
from calvaria.tasks.completion import prepare
from calvaria.volume import BinaryVolume, Mask
from calvaria.weights import WEIGHTS, save_weights


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """Where the network is sure of the mask, and where it is not."""
    mask = prepared.canonical.mask
    solid, box = prepared.grid.refine(inferred.field, settings.threshold)
    sure = np.zeros_like(mask)
    sure[box] = solid & mask[box]
    return {"sure": sure, "doubtful": mask & ~sure}


def prepare_at_its_factor(volume: BinaryVolume, settings: Settings, extras: Extras = Extras()) -> Prepared:
    return prepare(volume, replace(settings, spacing_mm=settings.spacing_mm * (extras.factor or 1)))


DOUBT = Task("doubt", ("sure", "doubtful"), prepare_at_its_factor, finish, options=("threshold", "factor"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TASKS, DOUBT.name, DOUBT)
    torch.manual_seed(0)
    (tmp_path / DOUBT.name).mkdir()
    save_weights(tmp_path / DOUBT.name / WEIGHTS, EncoderDecoder(CONFIGS["ch1"]), DOUBT, Settings(spacing_mm=4.0))
    return tmp_path


@pytest.fixture
def bowl() -> BinaryVolume:
    radius = np.sqrt(sum(axis**2 for axis in np.ogrid[-1:1:24j, -1:1:26j, -1:1:28j]))
    return BinaryVolume.on_grid((radius < 0.95) & (radius > 0.7), (4.0, 4.0, 4.0), (-10, 20, 30))


def test_it_is_served_with_its_own_outputs_and_options(models: Path, bowl: BinaryVolume) -> None:
    predictor = Predictor.load(models / DOUBT.name)
    for factor, threshold in ((1.5, 0.5), (2.0, 0.4)):
        with LocalClient(predictor) as client:
            found = client.predict_several("doubt", bowl, ["sure", "doubtful"], factor=factor, threshold=threshold)
        settings = replace(predictor.settings, threshold=threshold)
        expected = predictor.answer(
            bowl, asked := predictor.ask(bowl, Extras(factor=factor)), predictor.infer([asked[0].prepared]), settings
        )
        for name, volume in found.volumes.items():
            assert np.array_equal(volume.mask, expected[name].mask)
        assert np.array_equal(found.volumes["sure"].mask | found.volumes["doubtful"].mask, bowl.mask)
        assert found.report.task == "doubt"


def test_the_commands_know_it_and_say_what_it_lacks(
    models: Path, bowl: BinaryVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def calvaria(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["calvaria", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), " ".join(capsys.readouterr().err.replace("│", " ").split())

    monkeypatch.chdir(tmp_path)
    write("mask.nrrd", bowl)
    assert calvaria("predict", "doubt", "mask.nrrd", "--output", "doubtful", "--out", "d.nrrd", "--models", models)[0] == 0
    assert read("d.nrrd").volume.same_grid(bowl)
    Path("doubt.toml").write_text((Path(__file__).parents[2] / "models" / "completion" / "paper.toml").read_text())
    status, said = calvaria("train", "doubt", "--config", "doubt.toml", "--out", "run")
    assert (status, "it has no row in calvaria/training/lessons.py" in said) == (2, True)
    status, said = calvaria("evaluate", "doubt", "--models", models, "--out", "scores.csv")
    assert (status, "it has no row in calvaria/evaluation/assessments.py" in said) == (2, True)
