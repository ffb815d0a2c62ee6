"""Fit a task's network to examples: generated ones, or cut from masks that are given."""
