"""A network at work on whole grids."""

from dataclasses import dataclass

import numpy as np
import torch

from calvaria.geometry import Field
from calvaria.inference import ELSEWHERE, Inference, mirror_image
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.volume import Mask


@dataclass
class Question:
    sites: Mask
    features: Field


def test_a_mirror_image_is_asked_about_in_another_place() -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3), inputs=1, grows=False))
    rng = np.random.default_rng(0)
    sites = rng.random((40, 30, 50)) < 0.2
    question = Question(sites, rng.random((np.count_nonzero(sites), 1), np.float32))
    image = Question(*mirror_image(sites, question.features))
    elsewhere = Question(np.pad(image.sites, [(cells, 0) for cells in ELSEWHERE]), image.features)
    once, both_ways = Inference(network, False), Inference(network, True)
    here, flipped, there = (once([each])[0] for each in (question, image, elsewhere))
    x, y, z = ELSEWHERE
    np.testing.assert_allclose(both_ways([question])[0], (here + there[x:, y:, z:][::-1]) / 2, atol=1e-6)
    assert not np.allclose(there[x:, y:, z:], flipped, atol=1e-5), "where an image lies should matter"
