"""The occupancy figure: all voxels against occupied voxels by resolution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calvaria.datasets.stats import Statistics, levels, mean_exponents
from calvaria.errors import bad_option
from calvaria.files import writing

FORMATS = (".png", ".svg", ".pdf")
ALL, OCCUPIED = "#8a8f98", "#0b5fa5"


def check(path: Path) -> None:
    """BAD_OPTION, before anything is counted, where no plot can be written to this name or matplotlib is not installed."""
    if path.suffix.lower() not in FORMATS:
        raise bad_option(f"{path} does not say its format; end the name in {', '.join(FORMATS)}.")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise bad_option("Plots need matplotlib: pip install matplotlib.") from error


def plot(path: Path, found: Sequence[Statistics], title: str) -> None:
    """Write the figure: numbers of voxels on logarithmic axes with their fitted powers, and the share that is occupied."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    numbers, shares = figure.subplots(1, 2)
    drawn = sorted(levels(found), key=lambda level: level.across)  # volumes' own is the last, however wide they are
    across = [level.across for level in drawn]
    every, some = mean_exponents(found)
    for name, means, power, colour in (
        ("all", [level.voxels for level in drawn], every, ALL),
        ("occupied", [level.occupied for level in drawn], some, OCCUPIED),
    ):
        numbers.plot(across, means, "o-", color=colour, label=f"{name}: power {power:.2f}")
    numbers.set(xscale="log", yscale="log", xlabel="voxels across a slice", ylabel="voxels", title=title)
    numbers.legend(frameon=False)
    for level in drawn:
        shares.plot([level.across] * len(level.counts), level.percents, ".", color=OCCUPIED, alpha=0.5)
    shares.plot(across, [np.mean(level.percents) for level in drawn], "-", color=OCCUPIED)
    most = max(max(level.percents) for level in drawn)
    shares.set(
        xscale="log", xlabel="voxels across a slice", ylabel="occupied, %", title="Share that is occupied", ylim=(0, 1.1 * most or 1)
    )
    for axes in (numbers, shares):
        axes.set_xticks(across, [level.label for level in drawn])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
