"""A network that goes on where a narrower one stopped: it has more inputs or channels, and says the same at first.

After Chen, Goodfellow, Shlens: Net2Net, 2016, arXiv:1511.05641.
"""

import torch
from torch import Tensor

from calvaria.errors import bad_option
from calvaria.networks import LEVELS, EncoderDecoder, NetworkConfig

LEAST = 0.2
"""Parts are drawn from here to 1, then scaled to a sum of one: were they equal, a channel's copies would stay equal for ever."""


def widened(network: EncoderDecoder, config: NetworkConfig, seed: int) -> dict[str, Tensor]:
    """Weights for `config`, which has at least the inputs, and at every stride the channels, of a network.

    Of new inputs nothing is made at first, but the first input of a network that had none takes the place of the ones that it saw. A new
    channel copies an old one, and both share what that one said, by shares drawn by `seed`. CalvariaError BAD_OPTION where `config` has
    fewer inputs, or fewer channels somewhere.
    """
    source = torch.Generator().manual_seed(seed)
    state, inputs = network.state_dict(), network.config.inputs
    stem = state["stem.weight"]
    if inputs > config.inputs:
        raise bad_option(f"A network with {inputs} inputs cannot go on in one with {config.inputs}. Give the configuration as many.")
    more_inputs = stem.new_zeros(len(stem), max(config.inputs - stem.shape[1], 0), stem.shape[2])
    state = state | {"stem.weight": torch.cat([stem, more_inputs], dim=1)}
    copied = [_copied(known, wanted) for known, wanted in zip(_channels(state), config.channels, strict=True)]
    wide = {}
    for name, values in state.items():
        gives, takes = _strides(name)
        if takes is not None:
            values = values.index_select(-1 if name.endswith("weight") else 0, copied[takes]) if values.ndim else values
        if gives is not None:
            values = _shared(values, copied[gives], source)
        wide[name] = values
    return wide


def _channels(state: dict[str, Tensor]) -> list[int]:
    return [len(state["stem.norm.bias"]), *(len(state[f"encoder.{level}.conv.norm.bias"]) for level in range(LEVELS - 1))]


def _copied(known: int, wanted: int) -> Tensor:
    """Which old channel each of the `wanted` is a copy of."""
    if wanted < known:
        message = f"A network with {known} channels at a stride cannot go on in one with {wanted}. Give the configuration at least as many."
        raise bad_option(message)
    return torch.arange(wanted) % known


def _strides(name: str) -> tuple[int | None, int | None]:
    """The levels (0 for stride 1) whose channels an entry of the state takes in, if any, and gives out."""
    part, *rest = name.split(".")
    if part == "stem":
        return None, 0
    if part == "end":
        return (0, None) if name.endswith("weight") else (None, None)
    level = int(rest[0]) + 1 if part == "encoder" else LEVELS - 2 - int(rest[0])
    kind = rest[1]
    if kind == "head":
        return (level, None) if name.endswith("weight") else (None, None)
    if rest[2] == "norm":
        return None, level
    came_from = {"conv": level, "down": level - 1, "up": level + 1}[kind]
    return came_from, level


def _shared(values: Tensor, copied: Tensor, source: torch.Generator) -> Tensor:
    """Weights whose second axis is the channels that they read, for copies of these: one's weights are split among its copies."""
    wide = values.index_select(1, copied)
    parts = LEAST + (1 - LEAST) * torch.rand(wide.shape, generator=source)
    sums = torch.zeros_like(values).index_add_(1, copied, parts)
    return wide * (parts / sums.index_select(1, copied))  # an only copy keeps them to the last bit
