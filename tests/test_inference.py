"""A network at work on whole grids."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from calvaria.geometry import Field
from calvaria.inference import ELSEWHERE, Inference, mirror_image
from calvaria.networks import EncoderDecoder, Level, NetworkConfig
from calvaria.sparse import SiteSet
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


def test_sites_and_features_may_lie_in_memory_as_they_like() -> None:
    torch.manual_seed(0)
    inference = Inference(EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3), inputs=2, grows=False)), False)
    rng = np.random.default_rng(0)
    sites = rng.random((20, 12, 30)) < 0.2
    features = rng.random((np.count_nonzero(sites), 2), np.float32)
    backwards = np.asfortranarray(sites[::-1])[::-1]
    (here,), (there,) = inference([Question(sites, features)]), inference([Question(backwards, np.asfortranarray(features))])
    np.testing.assert_array_equal(here, there)


def test_where_memory_is_short_a_lone_question_is_asked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three grids and their mirror images, on a device that has room for two at a time; but a grid that does not fit alone is refused."""
    torch.manual_seed(0)
    network = EncoderDecoder(NetworkConfig((3, 2, 4, 3, 5, 2, 3), inputs=1, grows=False))
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < 0.2 for shape in ((20, 30, 10), (9, 9, 40), (12, 8, 30))]
    questions = [Question(sites, rng.random((np.count_nonzero(sites), 1), np.float32)) for sites in masks]
    inference = Inference(network, True)
    expected, decide, room, asked = inference(questions), inference.decide, 2, []

    def short(sites: SiteSet, **given: Any) -> list[Level]:
        asked.append(len(sites.sizes))
        if asked[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decide(sites, **given)

    monkeypatch.setattr(inference, "decide", short)
    for ours, theirs in zip(inference(questions), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert asked == [6, 3, 1, 2, 3, 1, 2]
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        inference(questions[:1])
