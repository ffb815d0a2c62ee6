"""Where every voxel is occupied and everything is kept, whole grids and sites are two ways to the same logits."""

import pytest
import torch

from calvaria.dense import DenseNetwork, DenseTwin
from calvaria.errors import CalvariaError
from calvaria.networks import Convolution, EncoderDecoder, Level, NetworkConfig, pyramid
from calvaria.sparse import SiteSet

SHAPE = (64, 128, 64)


@pytest.fixture(scope="module")
def network() -> EncoderDecoder:
    """Normalisations that change something, so that leaving one out, or folding one wrongly, shows; features stay of order one."""
    torch.manual_seed(0)
    network = EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3))).eval().requires_grad_(False)
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.weight /= 2
            torch.nn.init.normal_(layer.norm.running_mean, std=0.3)
            torch.nn.init.uniform_(layer.norm.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.norm.weight, 0.5, 2)
            torch.nn.init.normal_(layer.norm.bias, mean=0.2, std=0.3)
    return network


def copied(network: EncoderDecoder, dtype: torch.dtype) -> EncoderDecoder:
    copy = EncoderDecoder(network.config).eval()
    copy.load_state_dict(network.state_dict())
    return copy.to(dtype)


def block(shape: tuple[int, int, int], engine: str = "reference") -> SiteSet:
    try:
        return SiteSet.from_masks([torch.ones(shape, dtype=torch.bool)], engine=engine)
    except CalvariaError as error:
        pytest.skip(str(error))


def on_grid(level: Level) -> torch.Tensor:
    return level.logits.view(1, 1, *level.sites.shape[1:])


@pytest.mark.parametrize(("engine", "dtype"), [("reference", torch.float64), ("native", torch.float32)])
@torch.no_grad()
def test_a_full_block_has_the_sites_logits(network: EncoderDecoder, engine: str, dtype: torch.dtype) -> None:
    sites, network = block(SHAPE, engine), copied(network, dtype)
    expected = on_grid(network(sites, sites, forced=True)[-1])
    occupancy = torch.ones(1, 1, *SHAPE, dtype=dtype)
    (dense,) = DenseTwin(network)(occupancy)
    (folded,) = DenseTwin(network).folded()(occupancy)
    torch.testing.assert_close(dense, expected)
    torch.testing.assert_close(folded, expected)


@pytest.mark.parametrize("shape", [SHAPE, (64, 64, 64)], ids=["some", "a single cell at the coarsest level"])
def test_every_level_and_every_gradient_of_training_are_the_same(network: EncoderDecoder, shape: tuple[int, int, int]) -> None:
    sites, network = block(shape), copied(network, torch.float64).train()
    twin = DenseTwin(network)
    levels, grids = network(sites, sites, forced=True), twin(torch.ones(1, 1, *shape, dtype=torch.float64))
    assert len(levels) == len(grids) == len(pyramid(sites)) - 1
    for level, grid in zip(levels, grids, strict=True):
        torch.testing.assert_close(grid, on_grid(level))
    for outputs in (grids, [level.logits for level in levels]):
        sum(torch.square(logits).mean() for logits in outputs).backward()
    stem = network.stem.weight.grad.view(3, 3, 3, 1, -1).permute(4, 3, 2, 1, 0)
    torch.testing.assert_close(twin.stem[0].weight.grad, stem)


@torch.no_grad()
def test_as_a_network_every_cell_of_every_item_is_a_site(network: EncoderDecoder) -> None:
    masks = [torch.rand(70, 20, 33) < 0.1, torch.ones(64, 64, 64, dtype=torch.bool)]
    sites = SiteSet.from_masks(masks)
    (level,) = DenseNetwork(network).eval()(sites)
    assert [len(part) for part in torch.split(level.logits, level.sites.counts)] == [70 * 20 * 33, 64**3]
    for item, mask in enumerate(masks):
        grid = torch.zeros(1, 1, *(-(-size // 64) * 64 for size in (70, 64, 64)))
        grid[0, 0, : mask.shape[0], : mask.shape[1], : mask.shape[2]] = mask
        (alone,) = DenseTwin(network)(grid)
        x, y, z = mask.shape
        torch.testing.assert_close(level.sites.spread(level.logits)[item], alone[0, 0, :x, :y, :z])


@torch.no_grad()
def test_what_comes_with_a_site_lies_in_its_cell() -> None:
    network = EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3), inputs=2)).eval()
    mask, features = torch.rand(64, 64, 64) < 0.1, torch.rand(2, 64, 64, 64)
    (level,) = DenseNetwork(network).eval()(SiteSet.from_masks([mask]), features=features[:, mask].T.contiguous())
    (alone,) = DenseTwin(network)((features * mask)[None])
    torch.testing.assert_close(on_grid(level), alone)


def test_as_a_network_it_judges_all_strides_while_training(network: EncoderDecoder) -> None:
    levels = DenseNetwork(network).train()(SiteSet.from_masks([torch.rand(40, 20, 30) < 0.1]))
    assert [level.sites.stride for level in levels] == [32, 16, 8, 4, 2, 1]
    assert all(len(level.logits) == len(level.sites) for level in levels)


def test_in_mixed_precision_a_loss_is_told_float32(network: EncoderDecoder) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        levels = DenseNetwork(network).train()(SiteSet.from_masks([torch.rand(40, 20, 30) < 0.1]))
    assert {level.logits.dtype for level in levels} == {torch.float32}


@torch.no_grad()
def test_half_precision_says_about_the_same(network: EncoderDecoder) -> None:
    occupancy = torch.ones(1, 1, 64, 64, 64)
    (expected,), (half,) = DenseTwin(network)(occupancy), DenseTwin(network).bfloat16()(occupancy.bfloat16())
    assert (half.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_the_twin_lives_where_its_network_lives() -> None:
    twin = DenseTwin(EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3))).to("meta"))
    assert {tensor.device.type for tensor in (*twin.parameters(), *twin.buffers())} == {"meta"}
