"""A wider network says what the narrower one said, and then learns more."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.networks import CONFIGS, EncoderDecoder, NetworkConfig
from calvaria.sparse import SiteSet
from calvaria.training.widening import widened

NARROW = NetworkConfig((3, 4, 4, 5, 6, 6, 7), inputs=2, grows=False)


@pytest.fixture(scope="module")
def narrow() -> EncoderDecoder:
    """With running statistics of its own, as a trained network has."""
    torch.manual_seed(0)
    network = EncoderDecoder(NARROW)
    for entry, values in network.state_dict().items():
        if "norm" in entry and values.ndim:
            values.uniform_(0.5, 1.5)
    return network.eval()


def answers(network: EncoderDecoder, inputs: int) -> torch.Tensor:
    mask = np.random.default_rng(1).random((24, 20, 22)) > 0.7
    sites = SiteSet.from_masks([torch.from_numpy(mask)])
    features = torch.rand(len(sites), NARROW.inputs, generator=torch.Generator().manual_seed(2))
    more = torch.rand(len(sites), inputs - NARROW.inputs)
    with torch.no_grad():
        return torch.cat([level.logits for level in network(sites, features=torch.cat([features, more], dim=1))])


@pytest.mark.parametrize("inputs", [2, 4])
@pytest.mark.parametrize("channels", [NARROW.channels, (7, 4, 9, 10, 11, 30, 8), (9, 9, 9, 9, 9, 9, 9)])
def test_says_the_same_at_first(narrow: EncoderDecoder, channels: tuple[int, ...], inputs: int) -> None:
    wide = replace(NARROW, channels=channels, inputs=inputs)
    network = EncoderDecoder(wide).eval()
    network.load_state_dict(widened(narrow, wide, seed=3))
    torch.testing.assert_close(answers(network, wide.inputs), answers(narrow, NARROW.inputs), rtol=1e-4, atol=1e-4)


def test_copies_of_a_channel_learn_different_things(narrow: EncoderDecoder) -> None:
    wide = replace(NARROW, channels=(6, 8, 8, 10, 12, 12, 14))
    network = EncoderDecoder(wide).eval()
    network.load_state_dict(widened(narrow, wide, seed=3))
    sites = SiteSet.from_masks([torch.ones(8, 8, 8, dtype=torch.bool)])
    sum(level.logits.square().mean() for level in network(sites, features=torch.rand(len(sites), 2))).backward()
    stem = network.stem.weight.grad
    assert not torch.allclose(stem[..., :3], stem[..., 3:], rtol=1e-3)


def test_the_same_seed_gives_the_same_weights(narrow: EncoderDecoder) -> None:
    wide = replace(NARROW, channels=(9,) * 7)
    one, again, other = (widened(narrow, wide, seed)["encoder.0.down.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_network_never_becomes_narrower(narrow: EncoderDecoder) -> None:
    with pytest.raises(CalvariaError, match="cannot go on") as refused:
        widened(narrow, replace(NARROW, channels=(3, 4, 4, 5, 6, 6, 6)), seed=0)
    assert refused.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize("inputs", [1, 2])
def test_inputs_are_never_forgotten(inputs: int) -> None:
    network = EncoderDecoder(replace(NARROW, inputs=inputs))
    with pytest.raises(CalvariaError, match="inputs cannot go on"):
        widened(network, replace(NARROW, inputs=inputs - 1), seed=0)


def test_a_first_input_takes_the_place_of_ones() -> None:
    torch.manual_seed(0)
    without = EncoderDecoder(replace(NARROW, inputs=0)).eval()
    given = EncoderDecoder(NARROW).eval()
    given.load_state_dict(widened(without, NARROW, seed=0))
    sites = SiteSet.from_masks([torch.from_numpy(np.random.default_rng(1).random((16, 16, 16)) > 0.8)])
    ones = torch.rand(len(sites), 2)
    ones[:, 0] = 1
    with torch.no_grad():
        for one, other in zip(without(sites), given(sites, features=ones), strict=True):
            torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)


def test_the_papers_network_without_inputs() -> None:
    torch.manual_seed(0)
    ch1, ch2 = (EncoderDecoder(CONFIGS[name]).eval() for name in ("ch1", "ch2"))
    ch2.load_state_dict(widened(ch1, CONFIGS["ch2"], seed=0))
    sites = SiteSet.from_masks([torch.from_numpy(np.random.default_rng(1).random((16, 16, 16)) > 0.8)])
    with torch.no_grad():
        for narrow, wide in zip(ch1(sites, sites, forced=True), ch2(sites, sites, forced=True), strict=True):
            torch.testing.assert_close(wide.logits, narrow.logits, rtol=1e-4, atol=1e-4)
