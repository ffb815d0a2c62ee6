"""The reference engine: every operation in plain PyTorch, on any device. It is the oracle of the others, so it favours plain statements.

Bits become a dense array of flags, ranks a dense array of rows, and a kernel map names, for every output row and tap, the input row
under it; row N, one past the last, stands for "none" and reads as zeros. Convolutions are output-stationary: gather, then one product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits, Shape
from calvaria.sparse.plain_norm import normalise as normalise
from calvaria.sparse.plain_norm import normalise_gradient as normalise_gradient
from calvaria.sparse.taps import SIDE, taps

WORD = 64
# Floats of gathered neighbours held at once (4 MB): a block is multiplied while still in cache; measured on two cores.
GATHER_LIMIT = 2**20


def describe() -> str:
    return "plain PyTorch"


# Bits of a grid.


def pack(mask: Tensor, words: Tensor) -> None:
    x, y, z = mask.shape
    words[:x, :y, : -(-z // WORD)] = _words(mask.contiguous())


def unpack(words: Tensor, depth: int) -> Tensor:
    octets = words.contiguous().view(torch.uint8)
    return (octets[..., None] & _octet(words.device) != 0).flatten(-2)[..., :depth]


def index(words: Tensor) -> Bits:
    starts = torch.zeros(words.numel() + 1, dtype=torch.int32, device=words.device)
    torch.cumsum(_popcount(words).flatten(), 0, dtype=torch.int32, out=starts[1:])
    return Bits(words, starts, int(starts[-1]))


def index_all(grids: Sequence[Tensor]) -> list[Bits]:
    return [index(words) for words in grids]


def ends(bits: Bits) -> list[int]:
    found: list[int] = bits.starts[bits.words[0].numel() :: bits.words[0].numel()].tolist()
    return found


def coordinates(bits: Bits) -> Tensor:
    return _flags(bits.words).nonzero().int()


def mark(coordinates: Tensor, shape: Shape) -> Tensor:
    if (outside := (coordinates < 0) | (coordinates >= torch.tensor(shape, device=coordinates.device))).any():
        raise ValueError(f"{int(outside.any(1).sum())} of {len(coordinates)} coordinates lie outside the grid {list(shape)}")
    flags = torch.zeros(shape, dtype=torch.bool, device=coordinates.device)
    flags[coordinates.long().unbind(1)] = True
    return _words(flags)


def parents(words: Tensor) -> Tensor:
    b, x, y, w = words.shape
    flags = torch.nn.functional.pad(_flags(words), (0, w % 2 * WORD, 0, y % 2, 0, x % 2))
    pairs = flags.view(b, (x + 1) // 2, 2, (y + 1) // 2, 2, (w + w % 2) * WORD // 2, 2)
    return _words(pairs.any(6).any(4).any(2))


def children(words: Tensor, limits: Tensor, shape: Shape, kernel: int) -> Tensor:
    flags = _flags(words)
    for axis in (1, 2, 3):
        if kernel == 4:  # the blocks of a cell and of the one after it
            grown = torch.zeros_like(flags.narrow(axis, 0, 1))
            flags = torch.cat([flags, grown], axis) | torch.cat([grown, flags], axis)
        size, inside = shape[axis], torch.arange(shape[axis], device=words.device) < limits[:, axis - 1, None]
        flags = flags.repeat_interleave(2, axis).narrow(axis, 0, size)
        flags = flags & inside.view(len(inside), *[size if other == axis else 1 for other in (1, 2, 3)])
    return _words(flags)


def candidates(words: Tensor, limits: Tensor, shape: Shape, kernel: int, encoder: Tensor, also: Sequence[Tensor] = ()) -> list[Bits]:
    fine = children(words, limits, shape, kernel)
    return index_all([fine, fine | encoder, *also])


def select(bits: Bits, keep: Tensor) -> Tensor:
    flags = _flags(bits.words)
    flags[flags.clone()] = keep
    return _words(flags)


def rows(bits: Bits, wanted: Bits) -> Tensor:
    return _ranks(bits)[_flags(wanted.words)]


def spread(bits: Bits, values: Tensor, item: int, size: tuple[int, int, int], absent: float) -> Tensor:
    field = torch.full((*bits.words.shape[:3], bits.words.shape[3] * WORD), absent, dtype=torch.float32, device=values.device)
    field[_flags(bits.words)] = values
    x, y, z = size
    return field[item, :x, :y, :z]


def neighbours(bits: Bits, parents: Bits | None = None) -> Tensor:
    ranks = torch.nn.functional.pad(_ranks(bits), (1,) * 6, value=bits.count)
    _, x, y, z = ranks.shape
    b, i, j, k = (_flags(bits.words).nonzero() + torch.tensor([0, 1, 1, 1], device=ranks.device)).unbind(1)
    steps = torch.tensor([(dx * y + dy) * z + dz for dx, dy, dz in taps(3)], device=ranks.device)
    return ranks.view(-1)[(((b * x + i) * y + j) * z + k)[:, None] + steps]


# Features in the order of the sites.


def stem(weight: Tensor, bits: Bits, bias: Tensor | None = None) -> Tensor:
    return _finish(_present(bits, weight) @ weight, bias)


def stem_weight_gradient(gradient: Tensor, bits: Bits) -> Tensor:
    gradient = _for_sums(gradient)
    return _present(bits, gradient).t() @ gradient


def convolve(features: Tensor, weight: Tensor, bits: Bits, neighbours: Tensor, bias: Tensor | None = None) -> Tensor:
    return _finish(_gather_product(features, neighbours, weight), bias)


def convolve_weight_gradient(features: Tensor, gradient: Tensor, bits: Bits, neighbours: Tensor) -> Tensor:
    return _gathered_gradient(features, neighbours, gradient)


def downsample(features: Tensor, weight: Tensor, fine: Bits, coarse: Bits, bias: Tensor | None = None) -> Tensor:
    return _finish(_gather_product(features, _fine_rows(fine, coarse, _kernel(weight)), weight), bias)


def generate(features: Tensor, weight: Tensor, coarse: Bits, fine: Bits, bias: Tensor | None = None) -> Tensor:
    """One product gives all contributions of all inputs; each output gathers those of the parents that reach it: one per axis
    for kernel 2, two for kernel 4."""
    kernel, channels = _kernel(weight), weight.shape[2]
    contributions = (features @ weight.permute(1, 0, 2).flatten(1)).view(coarse.count * kernel**3, channels)
    contributions = torch.cat([contributions, contributions.new_zeros(1, channels)])
    ranks = torch.nn.functional.pad(_ranks(coarse), (1, 1) * 3, value=coarse.count)
    batch, *axes = _flags(fine.words).nonzero().unbind(1)
    out = contributions.new_zeros(fine.count, channels)
    for steps in taps(kernel // 2):
        above = [axis // 2 - step for axis, step in zip(axes, steps, strict=True)]
        tx, ty, tz = (axis - 2 * parent for axis, parent in zip(axes, above, strict=True))
        found = ranks[batch, above[0] + 1, above[1] + 1, above[2] + 1].long()
        slots = found * kernel**3 + tx + kernel * (ty + kernel * tz)
        out += contributions[torch.where(found < coarse.count, slots, len(contributions) - 1)]
    return _finish(out, bias)


def stride_weight_gradient(fine_features: Tensor, coarse_features: Tensor, fine: Bits, coarse: Bits, kernel: int) -> Tensor:
    return _gathered_gradient(fine_features, _fine_rows(fine, coarse, kernel), coarse_features)


def transfer(features: Tensor, source: Bits, target: Bits) -> Tensor:
    return _padded(features).index_select(0, rows(source, target))


def join(features: Tensor, source: Bits, others: Tensor, other: Bits, target: Bits) -> Tensor:
    return transfer(features, source, target) + transfer(others, other, target)


def decide(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    candidates: Bits,
    neighbours: Tensor,
    skip: Tensor,
    encoder: Bits,
    union: Bits,
    head: Tensor,
    head_bias: float,
    keep_above: float,
    with_features: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    decoded = convolve(features, weight, candidates, neighbours, bias)
    both = join(decoded, candidates, skip, encoder, union)
    logits = (both @ head + head_bias).float()
    return both if with_features else both[:0], logits, select(union, logits > keep_above)


# Dense arrays of a grid, whose z runs over whole words.


def _octet(device: torch.device) -> Tensor:
    return 2 ** torch.arange(8, dtype=torch.uint8, device=device)


def _flags(words: Tensor) -> Tensor:
    return unpack(words, words.shape[-1] * WORD)


def _words(flags: Tensor) -> Tensor:
    """int64 [..., ⌈Z/64⌉] of flags [..., Z]: eight flags make a byte, and the machine is little-endian."""
    padded = torch.nn.functional.pad(flags, (0, -flags.shape[-1] % WORD))
    octets = padded.view(*padded.shape[:-1], -1, 8).byte() * _octet(flags.device)
    words: Tensor = octets.sum(-1, dtype=torch.uint8).view(torch.int64)
    return words


def _popcount(words: Tensor) -> Tensor:
    """int64: bits set in each word, summed over ever wider fields. Shifts carry the sign in; the masks take it out."""
    fields = words - ((words >> 1) & 0x5555555555555555)
    fields = (fields & 0x3333333333333333) + ((fields >> 2) & 0x3333333333333333)
    fields = (fields + (fields >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (fields * 0x0101010101010101) >> 56


def _ranks(bits: Bits) -> Tensor:
    """int32 [B, X, Y, 64 W]: the row of each site, N elsewhere."""
    flags = _flags(bits.words)
    ranks = torch.full(flags.shape, bits.count, dtype=torch.int32, device=flags.device)
    ranks[flags] = torch.arange(bits.count, dtype=torch.int32, device=flags.device)
    return ranks


def _present(bits: Bits, like: Tensor) -> Tensor:
    """[N, 27]: one where a site has a neighbour under the tap."""
    return (neighbours(bits) < bits.count).to(like.dtype)


def _fine_rows(fine: Bits, coarse: Bits, kernel: int) -> Tensor:
    """Kernel map int32 [M, kernel³]: the fine row at 2u + t of each coarse site u."""
    ranks = torch.nn.functional.pad(_ranks(fine), (0, 4) * 3, value=fine.count)
    b, x, y, z = _flags(coarse.words).nonzero().unbind(1)
    tx, ty, tz = torch.tensor(taps(kernel), device=ranks.device).unbind(1)
    return ranks[b[:, None], 2 * x[:, None] + tx, 2 * y[:, None] + ty, 2 * z[:, None] + tz]


# Products over a kernel map.


def _kernel(weight: Tensor) -> int:
    return SIDE[weight.shape[0]]


def _finish(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else torch.relu(out + bias)


def _padded(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_zeros(1, features.shape[1])])


def _gather_product(features: Tensor, kernel_map: Tensor, weight: Tensor) -> Tensor:
    """[len(kernel_map), C_out]: sum over taps of features[kernel_map[:, tap]] @ weight[tap], in blocks of rows."""
    padded, flat = _padded(features), weight.flatten(0, 1)
    out = features.new_empty(len(kernel_map), weight.shape[2])
    for block in _blocks(len(kernel_map), len(flat)):
        torch.mm(_gather(padded, kernel_map[block]), flat, out=out[block])
    return out


def _gathered_gradient(features: Tensor, kernel_map: Tensor, gradient: Tensor) -> Tensor:
    """[taps, C_in, C_out]: sum over rows of features[kernel_map[row, tap]] ⊗ gradient[row]. What is gathered is not kept from the
    forward pass: it is taps times the features' memory."""
    padded, gradient = _padded(_for_sums(features)), _for_sums(gradient)
    taps, channels = kernel_map.shape[1], features.shape[1]
    total = gradient.new_zeros(taps * channels, gradient.shape[1])
    for block in _blocks(len(kernel_map), len(total)):
        total.addmm_(_gather(padded, kernel_map[block]).t(), gradient[block])
    return total.view(taps, channels, -1)


def _for_sums(features: Tensor) -> Tensor:
    """Features in single precision at least."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _gather(padded: Tensor, kernel_map: Tensor) -> Tensor:
    return padded.index_select(0, kernel_map.flatten()).view(len(kernel_map), kernel_map.shape[1] * padded.shape[1])


def _blocks(rows: int, width: int) -> list[slice]:
    step = max(1, GATHER_LIMIT // width)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
