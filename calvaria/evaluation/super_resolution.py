"""How super-resolution is scored: skulls on cubic grids, given coarse, in one row for each pair of grids."""

from collections.abc import Callable

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.evaluation.cases import check_held_out
from calvaria.evaluation.cubes import Resolutions, head_in_cube, placed_in_cube, question, supports
from calvaria.evaluation.interpolation import BASELINES
from calvaria.evaluation.metrics import agreement, reconstruction_error
from calvaria.evaluation.scoring import Assessment, Case, Drawn, Figure, Method, Outputs, Planned, Scoring, Test
from calvaria.evaluation.sheet import mask_strip
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

FINE = "fine"

ROWS = {"64-128": Resolutions(128, 64), "64-256": Resolutions(256, 64), "64-512": Resolutions(512, 64), "128-256": Resolutions(256, 128)}
"""The pairs of grids of Li et al., Sci Rep 13 (2023), doi 10.1038/s41598-023-47437-6."""

GRIDS = (
    ROWS
    | {f"{name}-nearest": Resolutions(row.fine, row.coarse, "nearest") for name, row in ROWS.items()}
    | {f"slices-{count}": Resolutions(count, None) for count in (128, 256, 512)}
)


def generated(drawn: Drawn) -> list[Planned]:
    """Generated skulls that no training saw, each in every row."""
    check_held_out(drawn.seeds)
    return [_planned(f"generated {seed}", kind, seed, head_in_cube) for seed in drawn.seeds for kind in _kinds(drawn)]


def of_whole(skull: BinaryVolume, name: str, drawn: Drawn) -> list[Planned]:
    """One skull, each seed placing it a little differently, in every row that its grid supports.

    CalvariaError EMPTY_MASK, or BAD_OPTION where it does not support every kind that is named, or any row at all.
    """
    if not skull.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, f"{name} is empty: there is no skull to make coarser.")
    kinds = [kind for kind in _kinds(drawn) if supports(skull, GRIDS[kind].fine)]
    if refused := [kind for kind in drawn.kinds if kind not in kinds] or ([] if kinds else list(ROWS)):
        edge = " × ".join(f"{each:.3g}" for each in skull.spacing_mm)
        raise bad_option(f"Voxels of {edge} mm do not support {', '.join(refused)}: heads are smaller than such a cube.")
    return [
        _planned(f"{name}, placed {seed}", kind, seed, lambda seed, count: placed_in_cube(skull, count, seed), name)
        for seed in drawn.seeds
        for kind in kinds
    ]


def _kinds(drawn: Drawn) -> tuple[str, ...]:
    """Each kind that is wanted, once: named twice, its cases would count twice."""
    return tuple(dict.fromkeys(drawn.kinds or ROWS))


def _planned(name: str, kind: str, seed: int, fine: Callable[[int, int], BinaryVolume], head: str | None = None) -> Planned:
    grid = GRIDS[kind]
    return Planned(f"{name}, {kind}", kind, head or name, lambda: question(fine(seed, grid.fine), grid, seed))


def _scores(case: Case, outputs: Outputs) -> dict[str, float]:
    made, truth = outputs[FINE], case.truth
    return agreement(made, truth) | {"error_percent": reconstruction_error(made.mask, truth.mask)}


def _fine(baseline: Callable[[BinaryVolume, Extras], BinaryVolume]) -> Method:
    return lambda coarse, extras: {FINE: baseline(coarse, extras)}


SKULLS = Scoring(
    (
        Figure("dice", "DSC", digits=4, better="more"),
        Figure("hd95_mm", "HD95 mm", digits=3, better="less"),
        Figure("nsd_1mm", "NSD 1 mm", digits=4, better="more"),
        Figure("error_percent", "error %", digits=3, better="less"),
        Figure("precision"),
        Figure("recall"),
    ),
    _scores,
    {name: _fine(baseline) for name, baseline in BASELINES.items()},
    mask_strip,
    apart=True,
)

SUPER_RESOLUTION = Assessment(
    "super-resolution", "Generated skulls that no training saw", tuple(GRIDS), Test("coarse scans", SKULLS, generated, of_whole)
)
