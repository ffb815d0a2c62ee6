"""A small dense network that segments generated chests, so that there are masks with a network's own mistakes to refine."""

from calvaria.segmenter.masks import SEGMENTED, segmented, segmented_by

__all__ = ["SEGMENTED", "segmented", "segmented_by"]
