"""The network on peers, as far as it can be told without them: that the layers between theirs are ours, and that each is asked rightly.

The peers are played by small stand-ins with the names and arguments of their documentation, which compute with our reference engine.
"""

import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from calvaria.bench.peers import PEERS, PeerNetwork
from calvaria.bench.subjects import NotMeasured, example_network, load, subjects_of
from calvaria.networks import EncoderDecoder
from calvaria.plan import Plan
from calvaria.sparse import SiteSet, SparseTensor, convolve, downsample, stem


def compute(places: Tensor, features: Tensor, weight: Tensor, bias: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Places and features of a convolution, in another order than the reference engine's: no peer promises one for new sites."""
    extents = [tuple((places[:, 1:].amax(0) + 1).tolist())] * (int(places[:, 0].max()) + 1)
    sites = SiteSet.from_coordinates(places, extents, 1, "reference")
    rows = rank(sites.places, places)
    assert len(rows) == len(sites)  # none twice
    sorted_features = torch.empty_like(features).index_copy_(0, rows, features)
    if stride == 2:
        out = downsample(SparseTensor(sites, sorted_features), weight)
        turned = torch.arange(len(out.sites)).flip(0) if len(extents) == 1 else torch.arange(len(out.sites))
        return out.sites.places[turned], (out.features + bias)[turned]
    out = stem(sites, weight) if weight.shape[1] == 1 else convolve(SparseTensor(sites, sorted_features), weight)
    return places, (out.features + bias)[rows]


def rank(places: Tensor, wanted: Tensor) -> Tensor:
    known = {tuple(place): row for row, place in enumerate(places.tolist())}
    return torch.tensor([known[tuple(place)] for place in wanted.tolist()])


class Layer(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, bias: bool = True):
        super().__init__()
        assert bias
        self.stride = stride
        self.weight, self.bias = nn.Parameter(torch.empty(kernel_size**3, c_in, c_out)), nn.Parameter(torch.empty(c_out))


class SpconvTensor:
    def __init__(self, features: Tensor, indices: Tensor, spatial_shape: Sequence[int], batch_size: int):
        assert indices.dtype == torch.int32
        assert (indices[:, 1:].amax(0) < torch.tensor(spatial_shape)).all()
        self.features, self.indices, self.spatial_shape, self.batch_size = features, indices, spatial_shape, batch_size

    def replace_feature(self, features: Tensor) -> "SpconvTensor":
        return SpconvTensor(features, self.indices, self.spatial_shape, self.batch_size)


class SpconvLayer(Layer):
    def forward(self, x: SpconvTensor) -> SpconvTensor:
        places, features = compute(x.indices, x.features, self.weight, self.bias, self.stride)
        return SpconvTensor(features, places, [size // self.stride for size in x.spatial_shape], x.batch_size)


class TorchSparseTensor:
    def __init__(self, feats: Tensor, coords: Tensor, stride: int = 1, spatial_range: tuple[int, ...] | None = None):
        self.feats, self.coords, self.spatial_range = feats, coords, spatial_range


class TorchSparseLayer(Layer):
    def forward(self, x: TorchSparseTensor) -> TorchSparseTensor:
        places, features = compute(x.coords, x.feats, self.weight, self.bias, self.stride)
        return TorchSparseTensor(features, places)


class Voxels:
    def __init__(self, batched_coordinates: Tensor, batched_features: Tensor, offsets: Tensor):
        assert offsets.device.type == "cpu"
        assert int(offsets[-1]) == len(batched_coordinates) == len(batched_features)
        batch = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
        self.batch_indexed_coordinates = torch.cat([batch[:, None].int(), batched_coordinates], 1)
        self.feature_tensor, self.offsets = batched_features, offsets

    def replace(self, batched_features: Tensor) -> "Voxels":
        return Voxels(self.batch_indexed_coordinates[:, 1:], batched_features, self.offsets)


class WarpConvNetLayer(Layer):
    def forward(self, x: Voxels) -> Voxels:
        places, features = compute(x.batch_indexed_coordinates, x.feature_tensor, self.weight, self.bias, self.stride)
        ends = torch.bincount(places[:, 0], minlength=len(x.offsets) - 1).cumsum(0)
        return Voxels(places[:, 1:], features, nn.functional.pad(ends, (1, 0)))


STAND_INS = {
    "spconv.pytorch": SimpleNamespace(SparseConvTensor=SpconvTensor, SubMConv3d=SpconvLayer, SparseConv3d=SpconvLayer),
    "torchsparse": SimpleNamespace(SparseTensor=TorchSparseTensor),
    "torchsparse.nn": SimpleNamespace(Conv3d=TorchSparseLayer),
    "warpconvnet.nn.modules.sparse_conv": SimpleNamespace(SparseConv3d=WarpConvNetLayer),
    "warpconvnet.geometry.types.voxels": SimpleNamespace(Voxels=Voxels),
}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, contents in STAND_INS.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), sys.modules.get(".".join(parts[:end]), ModuleType(parts[0])))
        module = ModuleType(name)
        vars(module).update(vars(contents))
        monkeypatch.setitem(sys.modules, name, module)


def same_weights(peer: PeerNetwork, network: EncoderDecoder) -> None:
    """What the plan runs, in the peer's layers."""
    plan = Plan(network)
    pairs = [(peer.stem, plan.stem.weight[:, None], plan.stem.bias)]
    for down, convolution, step in zip(peer.down, peer.encode, plan.encoder, strict=True):
        pairs += [(down, *step.down), (convolution, *step.conv)]
    for level, step in enumerate(reversed(plan.decoder)):
        pairs.append((peer.decode[level], *step.conv))
        peer.up[level], peer.shift[level] = nn.Parameter(step.up.weight), nn.Parameter(step.up.bias)
        peer.head[level].weight.data, peer.head[level].bias.data = step.head[None], torch.tensor([step.head_bias])
    for layer, weight, bias in pairs:
        assert layer.weight.shape == weight.shape
        layer.weight.data, layer.bias.data = weight, bias


@pytest.mark.parametrize("name", PEERS)
@torch.no_grad()
def test_between_a_peers_layers_the_network_is_ours(name: str, stand_ins: None) -> None:
    network = example_network("ch1").eval()
    peer = PeerNetwork(network.config, PEERS[name]())
    same_weights(peer, network)
    block = torch.zeros(27, 21, 70, dtype=torch.bool)  # odd sizes: what overshoots them must go
    block[4:27, 3:17, 5:8] = True
    block[2, 20, 69] = True
    sites = SiteSet.from_masks([block, block.flip(1)[:20]], "reference")
    expected = Plan(network)(sites, sites)[-1].logits
    torch.testing.assert_close(peer(sites).sort().values, expected.sort().values, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_listed_with_the_reason_where_it_cannot_be_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subjects_of(name, "cuda")[0]
    assert subject == f"{name} fp16"
    with pytest.raises(NotMeasured, match="on a GPU only"):
        load(subject, example_network("ch1").eval(), torch.device("cpu"))
    with pytest.raises(NotMeasured, match="only its answers"):
        load(subject, example_network("ch1").train(), torch.device("cuda"))
    for module in ("spconv", "torchsparse", "warpconvnet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotMeasured, match="cannot be imported"):
        load(subject, example_network("ch1").eval(), torch.device("cuda"))


def test_on_a_gpu_the_native_engine_is_measured_in_both_types() -> None:
    assert subjects_of("native", "cuda:0") == ["native bf16", "native fp32"]
    assert subjects_of("native", "cpu") == ["native"]
