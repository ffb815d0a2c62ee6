"""The heaviest convolution on its own: how near it comes to the bytes a second that a copy moves."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from calvaria.bench.clock import clock
from calvaria.bench.volumes import load
from calvaria.networks import CONFIGS
from calvaria.sparse import SiteSet

REPEATS = 15


@dataclass(frozen=True)
class Heaviest:
    """The finest level's decision: 3×3×3 convolution of all candidates, with the encoder's features, head and keep bits.

    moved_bytes  what it must read and write once: features, bits, rank index, weights, logits. What it reads again counts for nothing.
    """

    candidates: int
    seconds: float
    moved_bytes: int
    dtype: str


@torch.no_grad()
def heaviest(masks: list[torch.Tensor], channels: int, device: torch.device, dtype: torch.dtype) -> Heaviest:
    """Time of the decision: median over fresh random features, where the masks' own sites are kept."""
    sites = SiteSet.from_masks(masks).to(device)
    candidates = sites.parents.reached(2)
    union = candidates.union(sites)
    engine, taken = sites.compute, []
    weight, bias, head = (torch.randn(shape, device=device, dtype=dtype) for shape in ((27, channels, channels), channels, channels))
    timed, near = clock(device), candidates.neighbours
    for _ in range(REPEATS):
        features, skip = (torch.randn(len(each), channels, device=device, dtype=dtype) for each in (candidates, sites))
        taken.append(
            timed(
                lambda f=features, s=skip: engine.decide(  # type: ignore[misc]
                    f, weight, bias, candidates.bits, near, s, sites.bits, union.bits, head, 0.0, 0.0, False
                )
            )
        )
    read = sum(tensor.nbytes for tensor in (features, skip, weight, bias, head))
    read += sum(words.nbytes + starts.nbytes for words, starts, _ in (candidates.bits, sites.bits, union.bits))
    return Heaviest(len(union), median(taken[1:]), read + union.words.nbytes + 4 * len(union), str(dtype).removeprefix("torch."))


def main() -> None:
    """Arguments: the folder with masks.npz, the name of the channels, the device, the type of features."""
    folder, channels, name, dtype = json.loads(sys.argv[1])
    masks, device = [torch.from_numpy(mask) for mask in load(Path(folder) / "masks.npz")], torch.device(name)
    computed = CONFIGS[channels].computed_channels(device.type)[0]
    print(json.dumps(asdict(heaviest(masks, computed, device, getattr(torch, dtype)))))


if __name__ == "__main__":
    main()
