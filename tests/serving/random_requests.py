"""Requests about random masks."""

import numpy as np

from calvaria.io import encode
from calvaria.serving.messages import Request
from calvaria.volume import BinaryVolume


def volume(shape=(6, 5, 4), seed=0) -> BinaryVolume:
    mask = np.random.default_rng(seed).random(shape) < 0.3
    return BinaryVolume.on_grid(mask, (1.0, 0.9, 0.8), (5, 6, 7))


def request(shape=(6, 5, 4), seed=0, **options: str) -> Request:
    return Request(encode(volume(shape, seed), "nrrd"), options)
