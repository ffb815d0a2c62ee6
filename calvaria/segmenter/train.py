"""Train the dense network whose masks are refined: `python -m calvaria.segmenter.train`. Minutes on one core."""

from pathlib import Path

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from calvaria.cores import one_blas_thread
from calvaria.files import make_folder
from calvaria.segmenter.network import CELL_MM, SCAN_MM, WEIGHTS, UNet, cells_over, coarse, to_tensor
from calvaria.synthetic.seeds import TRAINING
from calvaria.synthetic.thorax.anatomy import HIGH_MM, LOW_MM, ORGANS
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.synthetic.thorax.scan import scan
from calvaria.weights import save_state

CHESTS = 24
ROUNDS = 24
RATE = 6e-3
"""Peak learning rate. Few chests, briefly: the network is there to make mistakes."""


def train(chests: int = CHESTS, rounds: int = ROUNDS) -> UNet:
    """Train the network: the same every time, as far as one machine's arithmetic is."""
    torch.manual_seed(0)
    network = UNet()
    lessons = [lesson(seed) for seed in track(TRAINING[-chests:], "chests")]
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=rounds * chests)
    order = torch.cat([torch.randperm(chests) for _ in range(rounds)]).tolist()
    for number in track(order, "training"):
        image, labels = lessons[number]
        optimizer.zero_grad()
        torch.autograd.backward(mistaken_share(network(image), labels))
        optimizer.step()
        schedule.step()
    return network.eval()


def lesson(seed: int) -> tuple[Tensor, Tensor]:
    """A chest's image on cells [1, 1, X, Y, Z], and its labels int64 [1, X, Y, Z]."""
    shifts = np.random.default_rng(seed).uniform(0, CELL_MM, 3)
    axes = [np.arange(low + shift, high, SCAN_MM, dtype=np.float32) for low, high, shift in zip(LOW_MM, HIGH_MM, shifts, strict=True)]
    cells = cells_over(axes)
    with one_blas_thread():
        thorax = make_thorax(seed)
        image = to_tensor(coarse(scan(thorax, axes, seed), axes, cells))
        masks = [thorax.mask(organ, cells) for organ in ORGANS]
    labels = torch.zeros(image.shape[2:], dtype=torch.int64)
    x, y, z = (slice(len(cell)) for cell in cells)
    for label, mask in enumerate(masks, 1):
        labels[x, y, z][torch.from_numpy(mask)] = label
    return image, labels[None]


def mistaken_share(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus 1 - the organs' mean soft Dice."""
    probability = logits.softmax(1)[:, 1:]
    wanted = one_hot(labels, len(ORGANS) + 1).movedim(-1, 1)[:, 1:]
    overlap, total = (each.sum((0, 2, 3, 4)) for each in (probability * wanted, probability + wanted))
    return cross_entropy(logits, labels) + 1 - ((2 * overlap + 1) / (total + 1)).mean()


def main(file: Path = WEIGHTS, chests: int = CHESTS, rounds: int = ROUNDS) -> None:
    torch.set_num_threads(1)
    network = train(chests, rounds)
    make_folder(file.parent)
    save_state(file, network)


if __name__ == "__main__":
    typer.run(main)
