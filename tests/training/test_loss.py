"""The loss against its definition, written out site by site."""

import math

import pytest
import torch

from calvaria.networks import LEVELS, Level, pyramid
from calvaria.sparse import SiteSet
from calvaria.training.loss import OVERLAP_SITES, pyramid_loss

CELLS = (5, 4, 6)


def masks(share: float) -> list[torch.Tensor]:
    return [torch.rand(CELLS) < share for _ in range(2)]


def places(sites: SiteSet) -> list[tuple[int, ...]]:
    return [tuple(place) for place in sites.coordinates.tolist()]


@pytest.mark.parametrize("graded", [False, True], ids=["full or empty", "graded"])
@pytest.mark.parametrize(("added_weight", "overlap_weight"), [(1.0, 0.0), (3.0, 0.0), (2.0, 0.5)])
def test_every_level_asks_what_it_should(graded: bool, added_weight: float, overlap_weight: float) -> None:
    torch.manual_seed(1)
    given, wanted, judged = (SiteSet.from_masks(masks(share)) for share in (0.2, 0.3, 0.8))
    values = torch.rand(len(wanted)) if graded else None
    levels = [Level(sites, torch.randn(len(sites)), sites) for sites in reversed(pyramid(judged)[: LEVELS - 1])]
    expected = 0.0
    for level, had, truth in zip(levels, reversed(pyramid(given)[:-1]), reversed(pyramid(wanted)[:-1]), strict=True):
        known = set(places(had))
        finest = values is not None and truth.stride == 1
        target = dict(zip(places(truth), values.tolist() if finest else [1.0] * len(truth), strict=True))
        losses, weights, overlap = 0.0, 0.0, {item: [0.0, 0.0] for item in range(2)}
        for place, logit in zip(places(level.sites), level.logits.tolist(), strict=True):
            says, wants = 1 / (1 + math.exp(-logit)), target.get(place, 0.0)
            weight = 1.0 if place in known else added_weight
            losses -= weight * (wants * math.log(says) + (1 - wants) * math.log(1 - says))
            weights += weight
            if place not in known:
                overlap[place[0]][0] += says * wants
                overlap[place[0]][1] += says + wants
        expected += losses / weights
        dice = [(2 * both + OVERLAP_SITES) / (either + OVERLAP_SITES) for both, either in overlap.values()]
        expected += overlap_weight * (1 - sum(dice) / len(dice))
    loss = pyramid_loss(levels, given, wanted, added_weight, overlap_weight, values)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_an_item_without_sites_is_asked_for_nothing() -> None:
    nothing = SiteSet.from_masks([torch.zeros(CELLS, dtype=torch.bool)])
    levels = [Level(sites, torch.zeros(0), sites) for sites in reversed(pyramid(nothing)[: LEVELS - 1])]
    assert float(pyramid_loss(levels, nothing, nothing, 2.0, 0.5)) == 0
