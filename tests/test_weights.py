"""Weights go to disk and come back with their configuration; anything else is refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.tasks import TASKS, Settings
from calvaria.weights import load_weights, model_folder, save_weights


def test_round_trip(tmp_path: Path) -> None:
    network = EncoderDecoder(NetworkConfig((3, 4, 5, 6, 7, 8, 9), growth=2.5))
    settings = Settings(spacing_mm=3.5, margin_mm=12.0, threshold=0.4)
    save_weights(tmp_path / "w", network, TASKS["completion"], settings)
    loaded, task, its_settings = load_weights(tmp_path / "w")
    assert (loaded.config, task, its_settings) == (network.config, TASKS["completion"], settings)
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True))


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    """A run that goes on is recognised by the hash of what it began from, which may have been saved again since."""
    network, saved = EncoderDecoder(NetworkConfig((3, 4, 5, 6, 7, 8, 9))), set()
    for number in range(12):
        save_weights(tmp_path / str(number), network, TASKS["completion"], Settings(spacing_mm=3.5))
        saved.add((tmp_path / str(number)).read_bytes())
    assert len(saved) == 1


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"not weights at all")
    with pytest.raises(CalvariaError, match="not a safetensors file"):
        load_weights(tmp_path / "w")


def test_weights_of_another_project_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w")
    with pytest.raises(CalvariaError, match="no weights for any of the tasks completion"):
        load_weights(tmp_path / "w")


@pytest.mark.parametrize("header", ["{}", '{"channels": [3, 4, 5]}', '{"depth": 3}', "not JSON"])
def test_weights_of_another_version_are_refused(tmp_path: Path, header: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w", metadata={"task": "completion", "network": header, "settings": "{}"})
    with pytest.raises(CalvariaError, match="another version of Calvaria") as refused:
        load_weights(tmp_path / "w")
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(CalvariaError, match="no task 'embalming'"):
        model_folder("embalming")


def test_without_a_checkout_it_is_said_where_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calvaria.weights.__file__", str(tmp_path / "site-packages" / "calvaria" / "weights.py"))
    with pytest.raises(CalvariaError, match=r"weights come with a checkout.*--models") as refused:
        model_folder("completion")
    assert refused.value.code is ErrorCode.BAD_OPTION
    assert model_folder("completion", tmp_path) == tmp_path / "completion"
