"""Weights between those of two runs."""

from pathlib import Path

import pytest
import torch

from calvaria.errors import CalvariaError
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.tasks import TASKS, Settings
from calvaria.training.averaging import average
from calvaria.weights import load_weights, save_weights

CONFIG = NetworkConfig((4, 4, 8, 8, 8, 8, 8))


def saved(path: Path, seed: int, config: NetworkConfig = CONFIG, spacing_mm: float = 3.0) -> Path:
    torch.manual_seed(seed)
    save_weights(path, EncoderDecoder(config), TASKS["completion"], Settings(spacing_mm=spacing_mm))
    return path


def test_a_share_of_each_and_all_of_either_at_the_ends(tmp_path: Path) -> None:
    before, after = (saved(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    old, new = (load_weights(path)[0].state_dict() for path in (before, after))
    for share in (0.0, 0.25, 1.0):
        average(before, after, share, tmp_path / "between.safetensors")
        between, task, settings = load_weights(tmp_path / "between.safetensors")
        assert (task, settings) == load_weights(after)[1:]
        for name, values in between.state_dict().items():
            expected = torch.lerp(old[name].float(), new[name].float(), share).to(values.dtype)
            torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    one = saved(tmp_path / "one.safetensors", 1)
    wider = saved(tmp_path / "wider.safetensors", 1, NetworkConfig((4, 4, 8, 8, 8, 8, 16)))
    coarser = saved(tmp_path / "coarser.safetensors", 1, spacing_mm=4.0)
    for other, share in ((wider, 0.5), (coarser, 0.5), (one, 1.5)):
        with pytest.raises(CalvariaError, match=r"different|from 0 to 1"):
            average(one, other, share, tmp_path / "between.safetensors")
    assert not (tmp_path / "between.safetensors").exists()
    with pytest.raises(CalvariaError, match="there is no folder"):
        average(one, one, 0.5, tmp_path / "nowhere" / "between.safetensors")
