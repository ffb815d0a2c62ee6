"""`make train`: the steps that made the weights that ship, one after the other, in runs/. Each goes on where it was stopped."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from calvaria.training.averaging import average
from calvaria.weights import CLOSE_UP, WEIGHTS, model_folder

RUNS = Path("runs")


@dataclass(frozen=True)
class Step:
    """A run of `calvaria train`, or weights between those of two runs.

    out      the folder in runs/ where its weights go; by this name steps after it call it
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

    @property
    def options(self) -> dict[str, Path]:
        """Those of `calvaria train`, by name."""
        named = {"first": self.first, "start": self.start, "out": self.out}
        return {"config": models() / self.config} | {option: RUNS / step for option, step in named.items() if step}

    def train(self) -> int:
        """The run, in a process of its own; its exit code."""
        words = [word for option, value in self.options.items() for word in (f"--{option}", str(value))]
        return subprocess.run([Path(sys.executable).with_name("calvaria"), "train", Path(self.config).parts[0], *words]).returncode

    def average(self) -> None:
        """The weights between: of the second networks where the steps have such, or else of the first."""
        before, after = (RUNS / step for step in self.between)
        name = CLOSE_UP if (after / CLOSE_UP).exists() else WEIGHTS
        (RUNS / self.out).mkdir(parents=True, exist_ok=True)
        average(before / name, after / name, self.share, RUNS / self.out / name)


def models() -> Path:
    return model_folder("completion").parent


def steps() -> list[Step]:
    """Those of models/recipe.toml."""
    return [Step(**step) for step in tomllib.loads((models() / "recipe.toml").read_text())["steps"]]


def main() -> None:
    """Take every step; end with the exit code of the first run that fails, or is stopped."""
    for step in steps():
        if step.between:
            step.average()
        elif code := step.train():
            sys.exit(code)


if __name__ == "__main__":
    main()
