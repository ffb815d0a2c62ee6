"""What a network is asked for while it learns."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from calvaria.networks import Level, pyramid
from calvaria.sparse import SiteSet

OVERLAP_SITES = 20.0
"""Added to both sides of an item's overlap, so that one with nothing to add is asked for nothing, gently."""


def pyramid_loss(
    levels: list[Level],
    given: SiteSet,
    wanted: SiteSet,
    added_weight: float = 1.0,
    overlap_weight: float = 0.0,
    values: Tensor | None = None,
) -> Tensor:
    """Sum over the decoder's levels of the cross-entropy between a site's logit and whether the strided truth has it.

    The paper's loss, but that sites the input lacks, where the decisions are hard, may weigh more than those it has; that one minus
    their Dice overlap with the truth, item by item, may be added; and that the finest level may be asked how much of a cell belongs to
    the answer: `values` [N] of the wanted sites.
    """
    SiteSet.index_together(*pyramid(given)[:-1], *pyramid(wanted)[:-1])
    total = levels[0].logits.new_zeros(())
    for level, truth, had in zip(levels, reversed(pyramid(wanted)[:-1]), reversed(pyramid(given)[:-1]), strict=True):
        if len(level.sites) == 0:
            continue
        known = had.holds(level.sites)
        target = truth.holds(level.sites) if values is None or truth.stride > 1 else at(level.sites, truth, values)
        target = target.to(level.logits.dtype)
        weight = torch.where(known, 1.0, added_weight)
        losses = binary_cross_entropy_with_logits(level.logits, target, reduction="none")
        total = total + (losses * weight).sum() / weight.sum()
        if overlap_weight:
            total = total + overlap_weight * _overlap_loss(level, target * ~known, known)
    return total


def _overlap_loss(level: Level, missing: Tensor, known: Tensor) -> Tensor:
    """One minus the Dice overlap of what is added with what is missing [N], mean over the items."""
    added = torch.sigmoid(level.logits) * ~known
    items = (torch.stack([part.sum() for part in torch.split(rows, level.sites.counts)]) for rows in (added * missing, added, missing))
    both, ours, theirs = items
    return (1 - (2 * both + OVERLAP_SITES) / (ours + theirs + OVERLAP_SITES)).mean()


def at(sites: SiteSet, source: SiteSet, values: Tensor) -> Tensor:
    """The values [N] of the source's sites at these sites; 0 where the source has none."""
    return torch.cat([values, values.new_zeros(1)])[source.rows_of(sites)]
