"""What is timed: each engine on the same network and masks, from masks in memory to the logits at stride 1, or through a step of training.

On a GPU the clock starts at the masks' packed bits on the host (dense: at bool masks on the GPU), as serving uploads them; the native
engine is measured in bfloat16 and in float32.

Every sparse engine keeps exactly the input's sites at every stride, as a trained network about does, so that all do the same work.
"""

from collections.abc import Callable, Sequence
from functools import partial

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool3d

from calvaria.bench.machine import GIB
from calvaria.bench.peers import PEERS, PeerNetwork
from calvaria.dense import MULTIPLE, DenseTwin
from calvaria.errors import CalvariaError
from calvaria.minkowski import MinkowskiNetwork
from calvaria.networks import CONFIGS, Convolution, EncoderDecoder, Level
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.sparse.engines import choose
from calvaria.training.loss import pyramid_loss

ENGINES = {
    "native": ["native"],
    "reference": ["reference"],
    "minkowski": ["minkowski"],
    **{name: [f"{name} fp16"] for name in PEERS},
    "dense": ["dense fp32", "dense bf16"],
}
"""Which subjects an engine's name stands for, on a CPU; see `subjects_of`."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Run = Callable[[], Tensor]
"""One timed run; gives the logits of the candidates at stride 1, [N]."""

Subject = Callable[[Sequence[Tensor]], Run]
"""Makes a run from masks, bool [X, Y, Z] on the host. Raises NotMeasured where they are too large."""


class NotMeasured(Exception):
    """Why a subject cannot be measured here."""


def subjects_of(engine: str, device: str) -> list[str]:
    """Which subjects an engine's name stands for."""
    return ["native bf16", "native fp32"] if engine == "native" and device != "cpu" else ENGINES[engine]


def example_network(channels: str) -> EncoderDecoder:
    """Random weights from a seed; normalisations with statistics and scales of their own, as a trained network has."""
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS[channels])
    for layer in network.modules():
        if isinstance(layer, Convolution):
            nn.init.normal_(layer.norm.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.norm.running_var, 0.7, 1.4)  # type: ignore[arg-type]
            nn.init.uniform_(layer.norm.weight, 0.7, 1.4)
            nn.init.normal_(layer.norm.bias, std=0.1)
    return network


def load(name: str, network: EncoderDecoder, device: torch.device) -> Subject:
    """The subject of a name among the values of `ENGINES`, for a network on the device, in training mode or not. Raises NotMeasured."""
    engine, _, kind = name.partition(" ")
    dtype = TYPES[kind or "fp32"]
    if engine == "dense":
        return _dense(network, dtype, device)
    if engine in PEERS:
        return _peer(engine, network, dtype, device)
    try:
        if engine == "minkowski":
            general = MinkowskiNetwork(network)
            return _sparse(network, general, partial(general, forced=True), choose("auto", device.type), dtype, device)
        network = network if network.training else network.to(dtype)
        return _sparse(network, network, Plan(network), choose(engine, device.type), dtype, device)
    except CalvariaError as error:
        raise NotMeasured(error.message) from error


def _sparse(
    network: EncoderDecoder,
    learner: nn.Module,
    plan: Callable[..., list[Level]],
    engine: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Subject:
    """A subject that answers by the plan and trains by the learner, with the network's parameters; in mixed precision if bfloat16."""

    def subject(masks: Sequence[Tensor]) -> Run:
        packed = SiteSet.from_masks(masks) if device.type != "cpu" else None

        def made() -> SiteSet:
            return packed.to(device, engine) if packed is not None else SiteSet.from_masks(masks, engine)

        @torch.no_grad()
        def answer() -> Tensor:
            sites = made()
            return plan(sites, target=sites)[-1].logits

        def step() -> Tensor:
            sites = made()
            network.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                levels = learner(sites, sites, forced=True)
            if len(sites):  # nothing can be learnt from nothing
                pyramid_loss(levels, sites, sites).backward()  # type: ignore[no-untyped-call]
            return levels[-1].logits.detach()  # type: ignore[no-any-return]

        return step if network.training else answer

    return subject


def _peer(name: str, network: EncoderDecoder, dtype: torch.dtype, device: torch.device) -> Subject:
    if device.type == "cpu":
        raise NotMeasured("it is compared on a GPU only.")
    if network.training:
        raise NotMeasured("only its answers are compared.")
    try:
        peer = PEERS[name]()
    except ImportError as error:
        raise NotMeasured(f"it cannot be imported ({error}).") from error
    general = PeerNetwork(network.config, peer).eval().to(device, dtype)
    tuned = False

    def subject(masks: Sequence[Tensor]) -> Run:
        packed = SiteSet.from_masks(masks)

        @torch.inference_mode()  # only in it does WarpConvNet add up in half precision, as spconv does up to 128 channels
        def answer() -> Tensor:
            nonlocal tuned
            sites = packed.to(device)
            if not tuned:
                peer.tune(general, sites)
                tuned = True
            return general(sites)  # type: ignore[no-any-return]

        return answer

    return subject


def _dense(network: EncoderDecoder, dtype: torch.dtype, device: torch.device) -> Subject:
    if dtype == torch.bfloat16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise NotMeasured("this processor has no fast bf16 convolutions in PyTorch.")
    twin = DenseTwin(network).to(dtype)
    twin = twin if network.training else twin.folded()

    def subject(masks: Sequence[Tensor]) -> Run:
        grid = [len(masks), 1, *(-(-max(sizes) // MULTIPLE) * MULTIPLE for sizes in zip(*(mask.shape for mask in masks), strict=True))]
        needed, free = dense_bytes(grid, network, dtype), available_bytes(device)
        if needed > free:
            raise NotMeasured(f"would need {needed / GIB:.0f} GiB, and {free / GIB:.0f} GiB are free.")
        masks = [mask.to(device) for mask in masks]

        def occupancy() -> Tensor:
            filled = torch.zeros(grid, dtype=dtype, device=device)
            for item, mask in zip(filled[:, 0], masks, strict=True):
                x, y, z = mask.shape
                item[:x, :y, :z] = mask
            return filled

        @torch.no_grad()
        def answer() -> Tensor:
            return twin(occupancy())[-1].flatten()  # type: ignore[no-any-return]

        def step() -> Tensor:
            given = occupancy()
            twin.zero_grad()
            levels = twin(given)
            truths = (max_pool3d(given, given.shape[2] // level.shape[2]) for level in levels)
            losses = [binary_cross_entropy_with_logits(*pair) for pair in zip(levels, truths, strict=True)]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            return levels[-1].detach().flatten()  # type: ignore[no-any-return]

        return step if network.training else answer

    return subject


def dense_bytes(grid: Sequence[int], network: EncoderDecoder, dtype: torch.dtype) -> int:
    """About the memory that the dense twin needs at its peak: so many times the features [B, C, X, Y, Z] of the finest level.

    Measured on cubes of 128 and 192 cells: 3.9 to 5.4 times to answer, 10.6 to 11.7 times to train, fewer the larger.
    """
    cells = grid[0] * grid[2] * grid[3] * grid[4]
    return int(cells * network.config.channels[0] * dtype.itemsize * (12 if network.training else 4.5))


def available_bytes(device: torch.device) -> int:
    """Memory that can be had now on a device; on a GPU also what PyTorch holds there without need."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return int(psutil.virtual_memory().available)
