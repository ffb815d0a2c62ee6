"""The steps that made the weights that ship, one after the other. Each goes on where it was stopped."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from calvaria.files import make_folder
from calvaria.training.averaging import average
from calvaria.training.run import run
from calvaria.weights import CLOSE_UP, WEIGHTS, model_folder


@dataclass(frozen=True)
class Step:
    """A run of `calvaria train`, or weights between those of two runs.

    out      the folder where its weights go; by this name steps after it call it
    config   the run's configuration, in models/
    first    the step whose network comes first, where this one looks closer
    start    the step whose weights it starts from; none: random ones
    between  two steps, for weights that lie a `share` of the way from the first one's to the second's
    """

    out: str
    config: str = ""
    first: str = ""
    start: str = ""
    between: tuple[str, str] | tuple[()] = ()
    share: float = 0.0

    def train(self, folder: Path, device: str) -> None:
        """Make or continue the run; see `calvaria.training.run.run`."""
        first, start = (folder / step if step else None for step in (self.first, self.start))
        run(Path(self.config).parts[0], models() / self.config, folder / self.out, device, start, first)

    def average(self, folder: Path) -> None:
        """Write the weights between: those of second networks, where the two steps have such."""
        before, after = (folder / step for step in self.between)
        name = CLOSE_UP if (after / CLOSE_UP).exists() else WEIGHTS
        make_folder(folder / self.out)
        average(before / name, after / name, self.share, folder / self.out / name)


def models() -> Path:
    return model_folder("completion").parent


def steps() -> list[Step]:
    """Those of models/recipe.toml."""
    return [Step(**step) for step in tomllib.loads((models() / "recipe.toml").read_text())["steps"]]


def retrain(folder: Path, device: str) -> None:
    """Take every step of the recipe, in `folder`."""
    for step in steps():
        if step.between:
            step.average(folder)
        else:
            step.train(folder, device)
