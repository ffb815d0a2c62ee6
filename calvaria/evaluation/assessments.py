"""Every task that can be assessed."""

from calvaria.evaluation.completion import COMPLETION

ASSESSMENTS = {each.task: each for each in (COMPLETION,)}
