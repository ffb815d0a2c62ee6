"""Organs of the chest, bodies of no organ, and masks of them with mistakes, from a seed."""

from calvaria.synthetic.thorax.anatomy import ORGANS
from calvaria.synthetic.thorax.cases import RefinementCase, make_case

__all__ = ["ORGANS", "RefinementCase", "make_case"]
