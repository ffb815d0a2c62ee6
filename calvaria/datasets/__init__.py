"""Data sets: folders of skulls and organ masks in the layouts there are, converted, resampled, counted and split; and generated ones."""

from calvaria.datasets.files import fingerprint
from calvaria.datasets.layouts import Pair, pairs
from calvaria.datasets.masks import MaskPair, mask_pairs
from calvaria.datasets.splits import split

__all__ = ["MaskPair", "Pair", "fingerprint", "mask_pairs", "pairs", "split"]
