"""Sparse neural networks over binary medical volumes: complete, refine and serve them."""

__version__ = "0.1.0"
