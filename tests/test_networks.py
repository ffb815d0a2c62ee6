"""The paper's network: its size, its decisions, and that nothing about a batch or a strange input disturbs them."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from calvaria.errors import CalvariaError
from calvaria.networks import CONFIGS, EncoderDecoder, Level, NetworkConfig, bounded, pyramid
from calvaria.sparse import SiteSet, SparseTensor, convolve, stem
from calvaria.sparse.engines import choose
from calvaria.training.loss import pyramid_loss


def shell(size: int, radius: float, shift: int = 0) -> torch.Tensor:
    axis = torch.arange(size) - size / 2 + 0.5
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + (axis[None, None, :] - shift) ** 2).sqrt()
    return (distance - radius).abs() < 1.5


@pytest.fixture(scope="module")
def network() -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(CONFIGS["ch1"]).eval()


@pytest.mark.parametrize(("name", "published"), [("ch1", 434_695), ("ch2", 18_137_201)])
def test_parameter_counts_are_the_papers(name: str, published: int) -> None:
    assert sum(parameter.numel() for parameter in EncoderDecoder(CONFIGS[name]).parameters()) == published


def test_six_levels_each_judge_the_encoders_sites_and_more(network: EncoderDecoder) -> None:
    sites = SiteSet.from_masks([shell(40, 15)])
    levels = network(sites)
    assert [level.sites.stride for level in levels] == [32, 16, 8, 4, 2, 1]
    for level, given in zip(levels, reversed(pyramid(sites)[:-1]), strict=True):
        assert level.sites.holds(given).all()
        assert len(level.logits) == len(level.keep) == len(level.sites)


@torch.no_grad()
def test_each_item_of_a_batch_of_unequal_sizes_is_answered_as_if_alone(network: EncoderDecoder) -> None:
    masks = [shell(40, 15), shell(33, 12, shift=4), torch.ones(1, 1, 1, dtype=torch.bool), shell(21, 30), shell(50, 8)]
    together = network(SiteSet.from_masks(masks))[-1]
    for item, mask in enumerate(masks):
        alone = network(SiteSet.from_masks([mask]))[-1]
        mine = together.sites.places[:, 0] == item
        assert torch.equal(together.kept.masks()[item], alone.kept.masks()[0])
        torch.testing.assert_close(together.logits[mine], alone.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(9, 9, 9, dtype=torch.bool),
        torch.ones(1, 1, 1, dtype=torch.bool),
        torch.eye(3, dtype=torch.bool)[:, :, None].expand(3, 3, 3).contiguous(),
        torch.ones(17, 6, 9, dtype=torch.bool),
    ],
    ids=["empty", "one voxel", "touches every border", "full block"],
)
@pytest.mark.parametrize("train", [False, True])
def test_degenerate_inputs_are_answered_and_trained_on(mask: torch.Tensor, train: bool) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS["ch1"]).train(train)
    sites = SiteSet.from_masks([mask])
    levels = network(sites, sites if train else None)
    assert levels[-1].kept.masks()[0].shape == mask.shape
    loss = pyramid_loss(levels, sites, sites)
    assert torch.isfinite(loss)
    if train and len(sites):
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", ["ch1", "ch2"])
def test_the_whole_networks_gradients_are_the_same_on_the_native_engine(name: str) -> None:
    """In single precision against the reference in double; by running statistics, as those of a few coarse sites magnify rounding."""
    try:
        choose("native", "cpu")
    except CalvariaError as obstacle:
        pytest.skip(str(obstacle))
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS[name]).eval()
    exact = deepcopy(network).double()
    masks = [shell(40, 15), torch.zeros(9, 9, 9, dtype=torch.bool), shell(33, 12, shift=4)]
    for module, engine in ((network, "native"), (exact, "reference")):
        sites, target = SiteSet.from_masks([mask & (mask.cumsum(0) < 6) for mask in masks], engine), SiteSet.from_masks(masks, engine)
        pyramid_loss(module(sites, target, forced=True), sites, target).backward()
    for (parameter, ours), theirs in zip(network.named_parameters(), exact.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), parameter
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 2e-3 * theirs.grad.norm(), parameter


def test_a_network_that_keeps_nothing_still_answers() -> None:
    network = EncoderDecoder(CONFIGS["ch1"]).eval()
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, -1e6)
    levels = network(SiteSet.from_masks([shell(40, 15)]))
    assert all(len(level.kept) == 0 for level in levels)


def test_a_lower_bar_at_coarse_levels_keeps_sites_that_zero_would_prune() -> None:
    torch.manual_seed(0)
    paper = EncoderDecoder(CONFIGS["ch1"]).eval()
    torch.nn.init.constant_(paper.decoder[0].head.bias, -1e6)
    lenient = EncoderDecoder(replace(paper.config, keep_above=-1e9)).eval()
    lenient.load_state_dict(paper.state_dict())
    sites = SiteSet.from_masks([shell(40, 15)])
    assert len(paper(sites)[0].kept) == 0
    assert len(lenient(sites)[0].kept) > 0
    assert all(len(level.kept) == 0 for level in paper(sites, sites)[:1])  # training follows the paper and the truth


def test_a_network_that_wants_to_keep_everything_is_bounded_for_each_item() -> None:
    network = EncoderDecoder(NetworkConfig(CONFIGS["ch1"].channels, growth=2.0)).eval()
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, 1e6)
    sites = SiteSet.from_masks([shell(64, 12), shell(48, 20)])
    levels = network(sites)
    for level, given in zip(levels, reversed(pyramid(sites)[:-1]), strict=True):
        assert all(kept <= 2 * count for kept, count in zip(level.kept.counts, given.counts, strict=True))


def test_the_bound_drops_the_lowest_logits() -> None:
    sites = SiteSet.from_masks([torch.ones(2, 2, 1, dtype=torch.bool), torch.ones(2, 1, 1, dtype=torch.bool)])
    logits = torch.tensor([0.5, 3.0, -1.0, 2.0, 0.1, 0.2])
    level = bounded(Level(sites, logits, sites.select(logits > 0)), [2, 2])
    assert level.keep.tolist() == [False, True, False, True, True, True]


def test_true_sites_are_followed_while_training() -> None:
    network = EncoderDecoder(CONFIGS["ch1"])
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, -1e6)
    given, wanted = SiteSet.from_masks([shell(40, 15) & shell(40, 15, shift=9)]), SiteSet.from_masks([shell(40, 15)])
    levels = network(given, wanted)
    for level, truth in zip(levels, reversed(pyramid(wanted)[:-1]), strict=True):
        assert level.sites.holds(truth).all()


@pytest.mark.parametrize("channels", [(8, 8), (8, 8, 16, 16, 32, 32, 0), (8.5, 8, 16, 16, 32, 32, 64)])
def test_a_wrong_configuration_is_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels are 7 positive whole numbers"):
        NetworkConfig(channels)


def test_normalisation_follows_as_pytorchs_does(engine: str) -> None:
    """Result, running statistics and their count; in evaluation, within a network that trains, they stand still."""
    torch.manual_seed(0)
    sites = SiteSet.from_masks([shell(20, 7)], engine)
    network = EncoderDecoder(CONFIGS["ch1"]).train()
    x, layer = SparseTensor(sites, torch.randn(len(sites), 8)), network.encoder[0].conv
    expected = deepcopy(layer.norm)
    alone = convolve(x, layer.weight).features
    torch.testing.assert_close(layer(x).features, torch.relu(torch.nn.BatchNorm1d.forward(expected, alone)))
    for mine, theirs in zip(layer.norm.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)
    layer.norm.eval()
    torch.testing.assert_close(layer(x).features, torch.relu(expected.eval()(alone)))
    for mine, theirs in zip(layer.norm.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_second_derivatives_are_refused() -> None:
    sites = SiteSet.from_masks([shell(12, 4)])
    weight = torch.randn(27, 1, 2, requires_grad=True)
    (first,) = torch.autograd.grad((stem(sites, weight).features ** 2).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
