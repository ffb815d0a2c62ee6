"""Scoring a task: the challenge's metrics, plain baselines to beat, and tables of both."""
