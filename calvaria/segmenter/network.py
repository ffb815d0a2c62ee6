"""A small dense network that segments the organs of a chest in CT-like images: its masks, with its own mistakes, are there to be refined.

A U-Net (Ronneberger et al., 2015) over the whole chest on cells of 4 mm, trained briefly (`calvaria.segmenter.train`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from calvaria.errors import bad_option
from calvaria.geometry import Field
from calvaria.synthetic.lattice import Axis
from calvaria.synthetic.thorax.anatomy import ORGANS

WEIGHTS = Path(__file__).parents[2] / "models" / "segmenter" / "u-net.safetensors"
"""File of the weights that this checkout ships."""

SCAN_MM, CELL_MM = 2.0, 4.0
"""Voxels of the scans that it sees, and what it looks at them in."""

MULTIPLE = 4
CHANNELS = 8, 16, 32

Labels = NDArray[np.uint8]


class UNet(nn.Module):
    """Two levels down and up; GroupNorm, ReLU. image [B, 1, X, Y, Z], multiples of 4 -> logits [B, 5, X, Y, Z], 0 being no organ."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = CHANNELS
        self.first, self.second, self.bottom = _pair(1, a), _pair(a, b), _pair(b, c)
        self.third, self.last = _pair(b + c, b), _pair(a + b, a)
        self.head = nn.Conv3d(a, len(ORGANS) + 1, 1)
        self.pool = nn.MaxPool3d(2)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.first(image)
        middle = self.second(self.pool(fine))
        deep = self.bottom(self.pool(middle))
        middle = self.third(torch.cat([interpolate(deep, scale_factor=2), middle], 1))
        logits: Tensor = self.head(self.last(torch.cat([interpolate(middle, scale_factor=2), fine], 1)))
        return logits


def _pair(c_in: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (c_in, c_out):
        layers += [nn.Conv3d(channels, c_out, 3, padding=1, bias=False), nn.GroupNorm(4, c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels uint8 [X, Y, Z] on cells, whose centres lie at these coordinates (patient mm): 0 none, else as in ORGANS from 1."""

    labels: Labels
    cells: Sequence[Axis]

    def on(self, axes_mm: Sequence[Axis]) -> Labels:
        """The label of the cell in which each voxel of a grid lies, as fast pipelines bring their masks back; 0 outside."""
        padded = np.pad(self.labels, 1)
        nearest = [
            (((axis - cell[0]) / CELL_MM).round().astype(np.intp) + 1).clip(0, len(cell) + 1)
            for axis, cell in zip(axes_mm, self.cells, strict=True)
        ]
        return np.ascontiguousarray(padded[np.ix_(*nearest)])


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network."""

    network: UNet

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> "Segmenter":
        """A network with weights; CalvariaError BAD_OPTION where there are none."""
        if not path.exists():
            raise bad_option(f"There are no weights of the dense network at {path}. Make them with `python -m calvaria.segmenter.train`.")
        network = UNet()
        network.load_state_dict(load_file(path))
        return cls(network.eval())

    @torch.inference_mode()
    def __call__(self, image: Field, axes_mm: Sequence[Axis]) -> Segmentation:
        """Segment an image [X, Y, Z], HU, whose voxels lie at these coordinates, patient mm."""
        cells = cells_over(axes_mm)
        logits = self.network(to_tensor(coarse(image, axes_mm, cells)))[0]
        x, y, z = (slice(len(cell)) for cell in cells)
        return Segmentation(logits.argmax(0).to(torch.uint8).numpy()[x, y, z], cells)


def cells_over(axes_mm: Sequence[Axis]) -> list[Axis]:
    """Centres of the cells over a grid of voxels."""
    return [np.arange(axis[0], axis[-1] + 1e-3, CELL_MM, dtype=np.float32) for axis in axes_mm]


def coarse(image: Field, axes_mm: Sequence[Axis], cells: Sequence[Axis]) -> Field:
    """An image at the centres of cells: about the mean of what they hold."""
    steps = [float(axis[1] - axis[0]) for axis in axes_mm]
    smooth: Field = ndimage.gaussian_filter(image, [0.35 * CELL_MM / step for step in steps], truncate=2.5)
    nearest = [((cell - axis[0]) / step).round().astype(np.intp) for axis, cell, step in zip(axes_mm, cells, steps, strict=True)]
    return np.ascontiguousarray(smooth[np.ix_(*nearest)])


def to_tensor(image: Field) -> Tensor:
    """[1, 1, X, Y, Z], as far as the next multiples of 4; -1 to 1 are -350 to 450 HU."""
    scaled = torch.from_numpy((image.clip(-350, 450) - 50) / 400)
    margins = [-count % MULTIPLE for count in reversed(image.shape)]
    return pad(scaled, [end for margin in margins for end in (0, margin)], value=-1)[None, None]
