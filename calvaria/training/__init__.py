"""Fit a task's network to data the project generates itself."""
