"""What a network is asked for while it learns."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from calvaria.networks import Level, pyramid
from calvaria.sparse import SiteSet


def pyramid_loss(levels: list[Level], given: SiteSet, wanted: SiteSet, added_weight: float = 1.0) -> Tensor:
    """Sum over the decoder's levels of the cross-entropy between a site's logit and whether the strided truth has it.

    The paper's loss, but that sites the input lacks, where the decisions are hard, may weigh more than those it has.
    """
    total = levels[0].logits.new_zeros(())
    for level, truth, had in zip(levels, reversed(pyramid(wanted)[:-1]), reversed(pyramid(given)[:-1]), strict=True):
        if len(level.sites) == 0:
            continue
        weight = torch.where(had.holds(level.sites), 1.0, added_weight)
        target = truth.holds(level.sites).to(level.logits.dtype)
        total = total + (binary_cross_entropy_with_logits(level.logits, target, reduction="none") * weight).sum() / weight.sum()
    return total
