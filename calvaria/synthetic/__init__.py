"""Skulls and cranial defects from a seed."""

from calvaria.synthetic.clefts import cleave
from calvaria.synthetic.defects import DEFECT_KINDS, Defect, cut_defect
from calvaria.synthetic.moulding import mould
from calvaria.synthetic.openings import perforate
from calvaria.synthetic.sinuses import pneumatise
from calvaria.synthetic.skull import make_skull
from calvaria.synthetic.symmetry import symmetrise

__all__ = ["DEFECT_KINDS", "Defect", "cleave", "cut_defect", "make_skull", "mould", "perforate", "pneumatise", "symmetrise"]
