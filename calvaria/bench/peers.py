"""The network on other sparse engines for GPUs, to compare times: spconv, TorchSparse and WarpConvNet.

Written against the sources of spconv 2.3.8, TorchSparse 2.1 and WarpConvNet 1.8.1. Weights are random, and taps may lie in another order:
layers, channels and sites are those of the network, answers are not. Where a peer lacks an operation, it gets the one that costs it
least: generation is one matrix product in PyTorch, and pruning hands it the sites that its encoder had already. No kernel map serves
two layers here: each level is convolved once on the encoder's sites and once on those generated.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from calvaria.networks import LEVELS, NetworkConfig
from calvaria.sparse import SiteSet
from calvaria.sparse.taps import SIDE, taps

TUNING_RUNS = 2
"""Times that TorchSparse's tuner, which takes the mean, measures each of about 65 choices in this network."""


class Peer(Protocol):
    """What the network asks of an engine. Places: int [N, 4], (batch, x, y, z) in cells of their stride."""

    def convolution(self, c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
        """A convolution with bias and ReLU: at stride 1 onto its input's sites in their order, at stride 2 onto their parents."""

    def tensor(self, features: Tensor, places: Tensor, shape: list[int], batch: int, stride: int) -> Any:
        """The engine's tensor. `shape`: of the grid in cells of its stride; `stride`: in finest cells."""

    def features(self, x: Any) -> Tensor: ...

    def places(self, x: Any) -> Tensor: ...

    def tune(self, network: nn.Module, sites: SiteSet) -> None:
        """Choose among its kernels for such sites, once, where the engine does not do so by itself as it goes."""


class PeerNetwork(nn.Module):
    """The network's layers for answering, normalisation folded into biases; every level keeps the encoder's sites."""

    def __init__(self, config: NetworkConfig, peer: Peer):
        super().__init__()
        c, self.peer = config.channels, peer
        self.stem = peer.convolution(1, c[0], 3, 1)
        self.down = nn.ModuleList(peer.convolution(c_in, c_out, 2, 2) for c_in, c_out in pairwise(c))
        self.encode = nn.ModuleList(peer.convolution(c_out, c_out, 3, 1) for c_out in c[1:])
        kernels = [4 if level == LEVELS - 2 else 2 for level in range(LEVELS - 1)]
        self.up = nn.ParameterList(torch.randn(kernel**3, c[i + 1], c[i]) / 8 for i, kernel in enumerate(kernels))
        self.shift = nn.ParameterList(torch.zeros(c_out) for c_out in c[:-1])
        self.decode = nn.ModuleList(peer.convolution(c_out, c_out, 3, 1) for c_out in c[:-1])
        self.head = nn.ModuleList(nn.Linear(c_out, 1) for c_out in c[:-1])

    def forward(self, sites: SiteSet) -> Tensor:
        """Logits of the candidates at stride 1, in no particular order."""
        peer, dtype = self.peer, self.up[0].dtype
        shape = [-(-size // 2 ** (LEVELS - 1)) * 2 ** (LEVELS - 1) for size in sites.shape[1:]]
        ones = torch.ones(len(sites), 1, dtype=dtype, device=sites.device)
        skips = [self.stem(peer.tensor(ones, sites.places, shape, sites.batch, 1))]
        for down, convolution in zip(self.down, self.encode, strict=True):
            skips.append(convolution(down(skips[-1])))
        coarse, logits = skips.pop(), ones
        places, features = peer.places(coarse), peer.features(coarse)
        for level in reversed(range(LEVELS - 1)):
            skip = skips.pop()
            limits = [[-(-size // 2**level) for size in extent] for extent in sites.extents]
            wanted = peer.places(skip)
            generated, features, rows = generate(places, features, self.up[level], torch.tensor(limits, device=sites.device), wanted)
            features = torch.relu_(features + self.shift[level])
            x = peer.tensor(features, generated, [size >> level for size in shape], sites.batch, 2**level)
            judged = peer.features(self.decode[level](x))
            places, features = wanted, judged[rows] + peer.features(skip)
            logits = self.head[level](judged.index_copy_(0, rows, features)).flatten()
        return logits


def generate(places: Tensor, features: Tensor, weight: Tensor, limits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Generative transposed convolution of stride 2 by weights [taps, C_in, C_out]: its places and features, and the rows of those wanted.

    limits  int [batch, 3]: the size of each item in cells of the finer grid; what lies outside is dropped.
    """
    kernel, c_out = SIDE[len(weight)], weight.shape[2]
    steps = torch.tensor([(0, *step) for step in taps(kernel)], dtype=places.dtype, device=places.device)
    doubled = places * places.new_tensor([1, 2, 2, 2])
    reached = (doubled[:, None] + steps).flatten(0, 1)
    made = (features @ weight.permute(1, 0, 2).flatten(1)).view(-1, c_out)
    inside = (reached[:, 1:] < limits[reached[:, 0].long()]).all(1)
    if not inside.all():
        reached, made = reached[inside], made[inside]
    if kernel == 2:  # children lie where their parents do
        halves = wanted // wanted.new_tensor([1, 2, 2, 2])
        odd = (wanted - 2 * halves)[:, 1:].long()
        rows = len(steps) * _rows(places, halves) + odd[:, 0] + 2 * odd[:, 1] + 4 * odd[:, 2]
        return reached, made, inside.cumsum(0)[rows] - 1
    reached, merged = torch.unique(reached, dim=0, return_inverse=True)
    summed = made.new_zeros(len(reached), c_out).index_add(0, merged, made)
    return reached, summed, _rows(reached, wanted)


def _rows(places: Tensor, wanted: Tensor) -> Tensor:
    """int64 [len(wanted)]: where each wanted place, all of which there are, stands among the places."""
    sizes = places.amax(0).long() + 1
    codes, asked = ((((p[:, 0] * sizes[1] + p[:, 1]) * sizes[2] + p[:, 2]) * sizes[3] + p[:, 3]) for p in (places.long(), wanted.long()))
    codes, order = codes.sort()
    return order[torch.searchsorted(codes, asked)]


class Spconv:
    """spconv 2, which has no bfloat16 kernels: https://github.com/traveller59/spconv/blob/master/docs/USAGE.md"""

    def __init__(self) -> None:
        self.engine: Any = import_module("spconv.pytorch")
        self.relu: Any = import_module("cumm.tensorview").gemm.Activation.ReLU

    def convolution(self, c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
        layer = self.engine.SubMConv3d(c_in, c_out, kernel) if stride == 1 else self.engine.SparseConv3d(c_in, c_out, kernel, stride)
        layer.act_type = self.relu  # in the convolution's kernel, as where spconv fuses layers for answering
        return layer  # type: ignore[no-any-return]

    def tensor(self, features: Tensor, places: Tensor, shape: list[int], batch: int, stride: int) -> Any:
        return self.engine.SparseConvTensor(features, places.int().contiguous(), shape, batch)

    def features(self, x: Any) -> Tensor:
        return x.features  # type: ignore[no-any-return]

    def places(self, x: Any) -> Tensor:
        return x.indices  # type: ignore[no-any-return]

    def tune(self, network: nn.Module, sites: SiteSet) -> None:
        """Nothing: spconv tunes itself at the first use of each pair of channels."""


class TorchSparse:
    """TorchSparse 2.1, whose coordinates are counted in cells of their own stride, batch first: https://github.com/mit-han-lab/torchsparse"""

    def __init__(self) -> None:
        self.engine: Any = import_module("torchsparse")
        self.layers: Any = import_module("torchsparse.nn")

    def convolution(self, c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
        return nn.Sequential(self.layers.Conv3d(c_in, c_out, kernel, stride=stride, bias=True), self.layers.ReLU(inplace=True))

    def tensor(self, features: Tensor, places: Tensor, shape: list[int], batch: int, stride: int) -> Any:
        return self.engine.SparseTensor(features, places.int().contiguous(), stride, (batch, *shape))

    def features(self, x: Any) -> Tensor:
        return x.feats  # type: ignore[no-any-return]

    def places(self, x: Any) -> Tensor:
        return x.coords  # type: ignore[no-any-return]

    def tune(self, network: nn.Module, sites: SiteSet) -> None:
        """Run its autotuner, which times its ways of computing for each stride and kernel in turn."""
        with TemporaryDirectory() as folder:  # the tuner writes what it found, and would read it again
            given = {"n_samples": TUNING_RUNS, "collect_fn": lambda sample: sample, "save_dir": folder}
            self.engine.tune(network, [sites] * TUNING_RUNS, **given, verbose=False, skip_warning=True)


class WarpConvNet:
    """WarpConvNet: https://nvlabs.github.io/WarpConvNet/user_guide/sparse_convolutions_variants/"""

    def __init__(self) -> None:
        self.layers: Any = import_module("warpconvnet.nn.modules.sparse_conv")
        self.activations: Any = import_module("warpconvnet.nn.modules.activations")
        self.geometry: Any = import_module("warpconvnet.geometry.types.voxels")

    def convolution(self, c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
        layer = self.layers.SparseConv3d(c_in, c_out, kernel_size=kernel, stride=stride)
        return nn.Sequential(layer, self.activations.ReLU(inplace=True))

    def tensor(self, features: Tensor, places: Tensor, shape: list[int], batch: int, stride: int) -> Any:
        ends = torch.bincount(places[:, 0], minlength=batch).cumsum(0).cpu()  # items lie one after the other here
        offsets = nn.functional.pad(ends, (1, 0)).int()
        return self.geometry.Voxels(places[:, 1:].int().contiguous(), features, offsets=offsets, tensor_stride=stride)

    def features(self, x: Any) -> Tensor:
        return x.feature_tensor  # type: ignore[no-any-return]

    def places(self, x: Any) -> Tensor:
        """Places, not by its own `batch_indexed_coordinates`, which counts the items on the CPU."""
        counts = x.offsets.diff().to(x.coordinate_tensor.device)
        items = torch.arange(len(counts), dtype=torch.int32, device=counts.device)
        return torch.cat([items.repeat_interleave(counts, output_size=len(x.coordinate_tensor))[:, None], x.coordinate_tensor], 1)

    def tune(self, network: nn.Module, sites: SiteSet) -> None:
        """Nothing: WarpConvNet tunes itself at the first use of each pair of channels with about so many sites."""


PEERS: dict[str, Callable[[], Peer]] = {"spconv": Spconv, "torchsparse": TorchSparse, "warpconvnet": WarpConvNet}
