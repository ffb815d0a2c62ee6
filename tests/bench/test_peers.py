"""The network on peers, as far as it can be told without them: that the layers between theirs are ours, and that each is asked rightly.

The peers are played by small stand-ins with the names and arguments of their documentation, which compute with our reference engine.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
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
        turned = torch.cat([rows.flip(0) for rows in torch.arange(len(out.sites)).split(out.sites.counts)])
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
    act_type = "None_"

    def forward(self, x: SpconvTensor) -> SpconvTensor:
        assert self.act_type == "ReLU"
        places, features = compute(x.indices, x.features, self.weight, self.bias, self.stride)
        return SpconvTensor(torch.relu(features), places, [size // self.stride for size in x.spatial_shape], x.batch_size)


class TorchSparseTensor:
    def __init__(self, feats: Tensor, coords: Tensor, stride: int = 1, spatial_range: tuple[int, ...] | None = None):
        assert spatial_range is None or (coords.amax(0) < torch.tensor(spatial_range)).all()
        self.feats, self.coords, self.stride, self.spatial_range = feats, coords, stride, spatial_range


class TorchSparseLayer(Layer):
    def forward(self, x: TorchSparseTensor) -> TorchSparseTensor:
        places, features = compute(x.coords, x.feats, self.weight, self.bias, self.stride)
        return TorchSparseTensor(features, places, x.stride * self.stride)


class TorchSparseReLU(nn.ReLU):
    def forward(self, x: TorchSparseTensor) -> TorchSparseTensor:
        return TorchSparseTensor(super().forward(x.feats), x.coords, x.stride, x.spatial_range)


def tune(  # of TorchSparse
    model: nn.Module, data_loader: list[SiteSet], n_samples: int, collect_fn: Callable[[SiteSet], SiteSet], save_dir: str, **options: bool
) -> None:
    assert Path(save_dir).is_dir()
    assert len(data_loader) == n_samples
    assert options == {"verbose": False, "skip_warning": True}
    strides = set()
    for layer in model.modules():
        if isinstance(layer, TorchSparseLayer):
            layer.register_forward_hook(lambda layer, given, _: strides.add((given[0].stride, layer.stride)))
    model(collect_fn(data_loader[0]))
    assert strides == {(2**level, 1) for level in range(7)} | {(2**level, 2) for level in range(6)}  # what it tunes apart


class Voxels:
    def __init__(self, batched_coordinates: Tensor, batched_features: Tensor, offsets: Tensor, tensor_stride: int):
        assert offsets.device.type == "cpu"
        assert int(offsets[-1]) == len(batched_coordinates) == len(batched_features)
        batch = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
        self.batch_indexed_coordinates = torch.cat([batch[:, None].int(), batched_coordinates], 1)
        self.coordinate_tensor, self.feature_tensor = batched_coordinates, batched_features
        self.offsets, self.stride = offsets, tensor_stride


class WarpConvNetLayer(Layer):
    def forward(self, x: Voxels) -> Voxels:
        places, features = compute(x.batch_indexed_coordinates, x.feature_tensor, self.weight, self.bias, self.stride)
        assert (places[:, 0].diff() >= 0).all()
        ends = torch.bincount(places[:, 0], minlength=len(x.offsets) - 1).cumsum(0)
        return Voxels(places[:, 1:], features, nn.functional.pad(ends, (1, 0)), x.stride * self.stride)


class WarpConvNetReLU(nn.ReLU):
    def forward(self, x: Voxels) -> Voxels:
        return Voxels(x.coordinate_tensor, super().forward(x.feature_tensor), x.offsets, x.stride)


STAND_INS = {
    "spconv.pytorch": SimpleNamespace(SparseConvTensor=SpconvTensor, SubMConv3d=SpconvLayer, SparseConv3d=SpconvLayer),
    "cumm.tensorview": SimpleNamespace(gemm=SimpleNamespace(Activation=SimpleNamespace(ReLU="ReLU"))),
    "torchsparse": SimpleNamespace(SparseTensor=TorchSparseTensor, tune=tune),
    "torchsparse.nn": SimpleNamespace(Conv3d=TorchSparseLayer, ReLU=TorchSparseReLU),
    "warpconvnet.nn.modules.sparse_conv": SimpleNamespace(SparseConv3d=WarpConvNetLayer),
    "warpconvnet.nn.modules.activations": SimpleNamespace(ReLU=WarpConvNetReLU),
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
    for module, weight, bias in pairs:
        (layer,) = (each for each in module.modules() if isinstance(each, Layer))
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
    peer.peer.tune(peer, sites)
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
