"""The network on whole grids instead of sites: what sparsity is measured against, and an oracle where every voxel is occupied."""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv_transpose3d
from torch.nn.utils.fusion import fuse_conv_bn_eval

from calvaria.networks import LEVELS, Convolution, EncoderDecoder, Level
from calvaria.sparse import SiteSet, generate
from calvaria.sparse.taps import SIDE

MULTIPLE = 2 ** (LEVELS - 1)
"""Grids are a multiple of this along each axis, so that they halve evenly down to the coarsest level."""


class DenseTwin(nn.Module):
    """The layers and the weights of an `EncoderDecoder` (copied), every cell computed and none pruned; memory channels-last.

    Where all voxels are occupied and everything is kept, both say the same; elsewhere absent sites differ: a normalised zero is not zero.
    """

    def __init__(self, network: EncoderDecoder):
        super().__init__()
        self.stem = _block(network.stem)
        self.encoder = nn.ModuleList(nn.Sequential(_block(level.down), _block(level.conv)) for level in network.encoder)  # type: ignore[arg-type]
        self.decoder = nn.ModuleList(nn.Sequential(_block(level.up), _block(level.conv)) for level in network.decoder)  # type: ignore[arg-type]
        self.heads = nn.ModuleList(_head(level.head) for level in network.decoder)  # type: ignore[arg-type]
        self.train(network.training)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, occupancy: Tensor) -> list[Tensor]:
        """Logits of the six decoder levels, strides 32 … 1, each [B, 1, X / stride, Y / stride, Z / stride].

        occupancy  [B, 1, X, Y, Z], 0 or 1, or [B, inputs, X, Y, Z], what comes with the sites and 0 elsewhere; X, Y and Z multiples of
        64. While answering, only the last level is judged: the others' logits would prune nothing.
        """
        skips = [self.stem(occupancy)]
        for encode in self.encoder:
            skips.append(encode(skips[-1]))
        x = skips.pop()
        logits = []
        for level, (decode, head) in enumerate(zip(self.decoder, self.heads, strict=True)):
            x = decode(x)
            x = x + skips.pop() if torch.is_grad_enabled() else x.add_(skips.pop())
            if self.training or level == LEVELS - 2:
                logits.append(head(x))
        return logits

    def folded(self) -> "DenseTwin":
        """This network with every normalisation folded into its convolution, for answering only."""
        for module in list(self.modules()):
            if isinstance(module, nn.Sequential) and isinstance(module[1], CellNorm):
                transposed = isinstance(module[0], nn.ConvTranspose3d)
                module[0] = fuse_conv_bn_eval(module[0], module[1], transpose=transposed)  # type: ignore[type-var]
                del module[1]
        return self.to(memory_format=torch.channels_last_3d)  # type: ignore[no-any-return, call-overload]


class DenseNetwork(nn.Module):
    """A `DenseTwin` behind the calls of its `EncoderDecoder`, so that both train and are judged by the same code: every cell is a site."""

    def __init__(self, network: EncoderDecoder):
        super().__init__()
        self.config = network.config
        self.twin = DenseTwin(network)

    def forward(self, sites: SiteSet, target: SiteSet | None = None, forced: bool = False, features: Tensor | None = None) -> list[Level]:
        """A logit for every cell of every item, at all six strides while training, else at stride 1 alone; `target` changes nothing."""
        grids = self.twin(_occupancy(sites, features))
        return [_level(grid[:, 0], sites, 2 ** (len(grids) - 1 - i)) for i, grid in enumerate(grids)]


def _occupancy(sites: SiteSet, features: Tensor | None) -> Tensor:
    """[B, C, X, Y, Z], as far as the next multiple: what comes with the sites, or ones; 0 where there is none."""
    columns = [torch.ones(len(sites), device=sites.device)] if features is None else list(features.float().T.contiguous())
    _, *size = sites.shape
    grid = torch.zeros(sites.batch, len(columns), *(-(-along // MULTIPLE) * MULTIPLE for along in size), device=sites.device)
    for channel, values in enumerate(columns):
        for item, spread in enumerate(sites.spread(values)):
            x, y, z = spread.shape
            grid[item, channel, :x, :y, :z] = spread
    return grid.contiguous(memory_format=torch.channels_last_3d)


def _level(logits: Tensor, like: SiteSet, stride: int) -> Level:
    """The logits [B, X, Y, Z] of a stride as a level on which every cell of every item is a site."""
    every = SiteSet.from_masks([torch.ones(extent, dtype=torch.bool, device=logits.device) for extent in like.extents], like.engine)
    while every.stride < stride:
        every = every.parents
    flat = torch.cat([grid[:x, :y, :z].flatten() for grid, (x, y, z) in zip(logits, every.sizes, strict=True)])
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))  # a loss in bfloat16 would round what is wanted
    return Level(every, flat, every.select(flat > 0))


class CornerAnchored(nn.ConvTranspose3d):
    """Stride 2; a cell u reaches 2u … 2u + kernel - 1 and what overshoots the doubled grid at its far ends is cut off."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        wide = conv_transpose3d(x, self.weight, self.bias, stride=2)
        over = self.kernel_size[0] - 2
        return wide if over == 0 else wide[..., :-over, :-over, :-over].contiguous(memory_format=torch.channels_last_3d)


class CellNorm(nn.BatchNorm3d):
    """Batch normalisation over cells. As in `SiteNorm`, a single one is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() > x.shape[1]:
            return super().forward(x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def _block(layer: Convolution) -> nn.Sequential:
    taps, c_in, c_out = layer.weight.shape
    kernel = SIDE[taps]
    grid = layer.weight.detach().view(kernel, kernel, kernel, c_in, c_out)  # z, y, x: the first axis varies fastest
    if layer.operation is generate:
        convolution: nn.Module = CornerAnchored(c_in, c_out, kernel, stride=2, bias=False)
        weight = grid.permute(3, 4, 2, 1, 0)
    else:
        stride, padding = (1, 1) if kernel == 3 else (2, 0)
        convolution = nn.Conv3d(c_in, c_out, kernel, stride, padding, bias=False)
        weight = grid.permute(4, 3, 2, 1, 0)
    convolution.weight = nn.Parameter(weight.clone())
    norm = CellNorm(c_out, layer.norm.eps, device=layer.weight.device, dtype=layer.weight.dtype)
    norm.load_state_dict(layer.norm.state_dict())
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


def _head(layer: nn.Linear) -> nn.Conv3d:
    head = nn.Conv3d(layer.in_features, 1, 1)
    head.weight = nn.Parameter(layer.weight.detach()[..., None, None, None].clone())
    head.bias = nn.Parameter(layer.bias.detach().clone())
    return head
