"""Every task that can be assessed."""

from calvaria.evaluation.completion import COMPLETION
from calvaria.evaluation.refinement import REFINEMENT
from calvaria.evaluation.super_resolution import SUPER_RESOLUTION

ASSESSMENTS = {each.task: each for each in (COMPLETION, SUPER_RESOLUTION, REFINEMENT)}
