"""What the networks are used for: a task is a row of data and a few functions."""

from calvaria.tasks.completion import COMPLETION
from calvaria.tasks.refinement import REFINEMENT
from calvaria.tasks.super_resolution import SUPER_RESOLUTION
from calvaria.tasks.task import Extras, Inferred, Prepared, Settings, Task

TASKS = {task.name: task for task in (COMPLETION, SUPER_RESOLUTION, REFINEMENT)}

__all__ = ["TASKS", "Extras", "Inferred", "Prepared", "Settings", "Task"]
