"""The network on MinkowskiEngine and on our own engine: the same sites, logits, gradients and completed skulls."""

import sys
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.codec import read
from calvaria.minkowski import MinkowskiNetwork
from calvaria.networks import CONFIGS, EncoderDecoder, Level, NetworkConfig
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.training.loss import pyramid_loss
from calvaria.weights import WEIGHTS, load_weights, model_folder

REAL = Path(__file__).parents[2] / "shared" / "data" / "seg3d_skull.nrrd"
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # MinkowskiEngine's own
built = pytest.mark.skipif(find_spec("MinkowskiEngine") is None, reason="MinkowskiEngine is not installed: `make minkowski`")


def noise(seed: int, density: float, *size: int) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) < density


def shell(size: int, radius: float) -> torch.Tensor:
    axis = torch.arange(size) - size / 2 + 0.5
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    return (distance - radius).abs() < 1.5


def holed(mask: torch.Tensor) -> torch.Tensor:
    """The mask with a defect to complete: its upper quarter in a corner of the first two axes is gone."""
    x, y, z = mask.shape
    mask = mask.clone()
    mask[x // 2 :, y // 2 :, z * 3 // 4 :] = False
    return mask


NOTHING = torch.zeros(9, 9, 9, dtype=torch.bool)
VOXEL = torch.ones(1, 1, 1, dtype=torch.bool)
DIAGONAL = torch.eye(21, dtype=torch.bool)[:, :, None] & torch.ones(21, dtype=torch.bool)
CASES = {
    "empty": [NOTHING],
    "one voxel": [VOXEL],
    "one voxel in the far corner": [torch.nn.functional.pad(VOXEL, (70, 0, 12, 0, 33, 0))],
    "full block": [torch.ones(17, 6, 9, dtype=torch.bool)],
    "touches every border": [DIAGONAL],
    "sparse noise": [noise(0, 0.02, 40, 33, 70)],
    "dense noise": [noise(1, 0.6, 19, 30, 23)],
    "surface": [shell(50, 20)],
    "unequal sizes": [shell(40, 15), noise(2, 0.3, 13, 70, 5), VOXEL, shell(21, 30)],
    "an item without sites": [NOTHING, shell(30, 12), NOTHING],
}


@pytest.fixture(scope="module")
def shipped() -> EncoderDecoder:
    return load_weights(model_folder("completion") / WEIGHTS)[0].eval()


def full(network: EncoderDecoder, sites: SiteSet) -> torch.Tensor | None:
    """What comes with the sites of a mask where the network wants to know how full they are."""
    return torch.ones(len(sites), network.config.inputs, dtype=network.stem.weight.dtype) if network.config.inputs else None


def assert_same(levels: list[Level], expected: list[Level], tolerance: float = 2e-4) -> None:
    for level, wanted in zip(levels, expected, strict=True):
        assert level.sites.stride == wanted.sites.stride
        assert torch.equal(level.sites.words, wanted.sites.words)
        assert torch.equal(level.kept.words, wanted.kept.words)
        size = max(1.0, float(wanted.logits.abs().max())) if len(wanted.logits) else 1.0  # rounding grows with what is summed
        torch.testing.assert_close(level.logits, wanted.logits, atol=tolerance * size, rtol=tolerance)


@built
@torch.no_grad()
@pytest.mark.parametrize("masks", CASES.values(), ids=CASES.keys())
def test_on_the_same_kept_sites_the_logits_are_the_same(masks: list[torch.Tensor], shipped: EncoderDecoder) -> None:
    sites = SiteSet.from_masks([holed(mask) for mask in masks], engine="reference")
    target = SiteSet.from_masks(masks, engine="reference")
    features = full(shipped, sites)
    theirs = MinkowskiNetwork(shipped)(sites, target, forced=True, features=features)
    assert_same(theirs, shipped(sites, target, forced=True, features=features))


@built
@torch.no_grad()
@pytest.mark.parametrize("masks", CASES.values(), ids=CASES.keys())
def test_sites_that_come_with_numbers_and_are_only_judged(masks: list[torch.Tensor]) -> None:
    torch.manual_seed(1)
    network = EncoderDecoder(NetworkConfig(CONFIGS["ch1"].channels, inputs=2, grows=False)).eval()
    sites = SiteSet.from_masks(masks, engine="reference")
    features = torch.rand(len(sites), 2)
    assert_same(MinkowskiNetwork(network)(sites, features=features), network(sites, features=features))


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Occupied and wanted masks of one to three items of any size and density, unrelated to each other."""
    sizes = draw(st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=3))
    densities = st.sampled_from([0.0, 0.003, 0.05, 0.4, 1.0])
    seeds = st.integers(0, 999)
    first, second = ([noise(draw(seeds), draw(densities), *size) for size in sizes] for _ in range(2))
    return first, second


@built
@torch.no_grad()
@settings(max_examples=25)
@given(batch=batches())
def test_random_occupancies_with_unrelated_targets(batch: tuple[list[torch.Tensor], list[torch.Tensor]]) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS["ch1"]).eval()
    sites, target = (SiteSet.from_masks(masks, engine="reference") for masks in batch)
    assert_same(MinkowskiNetwork(network)(sites, target, forced=True), network(sites, target, forced=True))


@built
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["one voxel", "full block", "unequal sizes", "an item without sites"])
def test_gradients_arrive_in_the_networks_own_parameters(name: str, training: bool, shipped: EncoderDecoder) -> None:
    """In double precision, where nothing but a mistake could tell the engines apart."""
    network = deepcopy(shipped).double().train(training)
    expected = deepcopy(network)
    target = SiteSet.from_masks(CASES[name], engine="reference")
    sites = SiteSet.from_masks([holed(mask) if mask.numel() > 1 else mask for mask in CASES[name]], engine="reference")
    for module, parameters_of in ((MinkowskiNetwork(network), network), (expected, expected)):
        levels = module(sites, target, forced=not training, features=full(network, sites))
        pyramid_loss(levels, sites, target, added_weight=5.0).backward()
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in parameters_of.parameters())
    for (parameter_name, mine), theirs in zip(network.named_parameters(), expected.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), parameter_name
        if mine.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-8, rtol=1e-7, msg=lambda text, of=parameter_name: f"{of}: {text}")
    for mine, theirs in zip(network.buffers(), expected.buffers(), strict=True):  # running statistics
        torch.testing.assert_close(mine, theirs)


@built
@torch.no_grad()
@pytest.mark.parametrize("bias", [-1e6, 1e6], ids=["keeps nothing", "wants to keep everything"])
def test_networks_of_one_mind_answer_alike(bias: float) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(NetworkConfig(CONFIGS["ch1"].channels, growth=1.5)).eval()
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, bias)
        torch.nn.init.zeros_(decode.head.weight)  # ties, which both break alike: in raster order
    sites = SiteSet.from_masks([shell(50, 20), NOTHING, noise(3, 0.2, 33, 17, 9)], engine="reference")
    assert_same(MinkowskiNetwork(network)(sites), network(sites))


@built
@torch.no_grad()
def test_levels_that_are_pruned_to_nothing_go_on_from_the_encoder(shipped: EncoderDecoder) -> None:
    sites = SiteSet.from_masks([shell(40, 15)], engine="reference")
    nothing = SiteSet.from_masks([torch.zeros(40, 40, 40, dtype=torch.bool)], engine="reference")
    levels = MinkowskiNetwork(shipped)(sites, nothing, forced=True, features=full(shipped, sites))
    assert_same(levels, shipped(sites, nothing, forced=True, features=full(shipped, sites)))
    assert torch.equal(levels[-1].sites.words, sites.words)


def dice_and_flips(network: EncoderDecoder, masks: list[torch.Tensor]) -> tuple[float, int]:
    """Of what serving answers, the plan on the best engine there is, and what MinkowskiEngine answers."""
    sites = SiteSet.from_masks(masks)
    features = full(network, sites)
    ours, theirs = Plan(network)(sites, features=features)[-1].kept, MinkowskiNetwork(network)(sites, features=features)[-1].kept
    common, total = len(ours.intersection(theirs)), len(ours) + len(theirs)
    assert len(ours) > len(sites) / 2, "a network that keeps little shows little"
    return 2 * common / total, total - 2 * common


@built
@torch.no_grad()
def test_free_pruning_completes_a_shape_alike(shipped: EncoderDecoder) -> None:
    dice, flips = dice_and_flips(shipped, [holed(shell(64, 26)), holed(shell(45, 20))])
    print(f"Dice {dice:.6f}, {flips} sites flipped")
    assert dice >= 0.9999


@built
@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="without the real volumes")
@torch.no_grad()
def test_free_pruning_completes_a_real_skull_alike(shipped: EncoderDecoder) -> None:
    mask = torch.nn.functional.max_pool3d(torch.from_numpy(read(REAL).volume.mask).float()[None], 2, ceil_mode=True)[0] > 0
    dice, flips = dice_and_flips(shipped, [holed(mask)])
    print(f"Dice {dice:.6f}, {flips} sites flipped")
    assert dice >= 0.9999


@built
@torch.no_grad()
def test_the_threads_of_the_process_stay_as_they_are(shipped: EncoderDecoder) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sites = SiteSet.from_masks([shell(20, 8)], engine="reference")
        MinkowskiNetwork(shipped)(sites, features=full(shipped, sites))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_without_minkowskiengine_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MinkowskiEngine", None)
    with pytest.raises(CalvariaError, match="make minkowski") as raised:
        MinkowskiNetwork(EncoderDecoder(CONFIGS["ch1"]))
    assert raised.value.code is ErrorCode.BAD_OPTION
