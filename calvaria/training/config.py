"""Everything that decides what a training run makes, read from one TOML file."""

import math
import tomllib
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from calvaria.networks import CONFIGS, NetworkConfig
from calvaria.synthetic import DEFECT_KINDS
from calvaria.tasks import Settings

T = TypeVar("T")

PRECISIONS = ("fp32", "bf16")

VOXELS_MM = 0.2, 10.0
LARGEST_CELL_MM = 20.0
"""Largest cells. What makes a head of nothing, or one that takes days, is a slip of the pen."""


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from. What a task does not heed (`calvaria.training.lessons`) has its default.

    skulls  how many different skulls are generated, or other bodies that the task is about; every example cuts a new defect
    finer   skulls are generated with voxels this many times smaller than a cell of the working grid, as scans are
    intact  share of the examples from which nothing is missing, so that nothing should be added
    stretch  each axis of a skull is stretched or shrunk by up to this share
    cleft   share of the examples whose skull has wide clefts (`calvaria.synthetic.cleave`), which should stay open
    openings  share of the examples whose skull has ragged openings in its base (`calvaria.synthetic.perforate`), which should stay so
    mould   share of the examples whose skull has its vault dented, thinned and thickened anew (`calvaria.synthetic.mould`)
    sinuses  share of the examples whose skull has large frontal sinuses (`calvaria.synthetic.pneumatise`)
    symmetric  share of the examples whose skull has sides alike (`calvaria.synthetic.symmetrise`), before it is moulded
    without  kinds of defects that are left out (`calvaria.synthetic.DEFECT_KINDS`), to see how a network does on what it never saw
    often    kinds of defects that are drawn twice as often as others
    distinct  so many examples are made, kept on disk and seen again and again, on grids that begin elsewhere; 0: every example is seen once
    bodies   share of masks of no organ among those whose mistakes are drawn
    segmented  share of all examples whose mistakes are a dense network's (`calvaria.segmenter`), of one of its organs, and not drawn
    cases   a folder of defective skulls, or for refinement of rough masks, with their truths, in any layout of `calvaria.datasets`: they
            are learned from, and nothing is generated. A tenth of the heads is kept for validation
    anew    share of the examples of such a folder that get a new defect, or mistakes, instead of their own: a network may learn a few by
            heart
    """

    skulls: int
    finer: float = 2.0
    intact: float = 0.0
    stretch: float = 0.0
    cleft: float = 0.0
    mould: float = 0.0
    openings: float = 0.0
    sinuses: float = 0.0
    symmetric: float = 0.0
    without: tuple[str, ...] = ()
    often: tuple[str, ...] = ()
    distinct: int = 0
    segmented: float = 0.0
    bodies: float = 0.25
    cases: str = ""
    anew: float = 0.5

    def __post_init__(self) -> None:
        for name in ("without", "often"):  # files know only lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if unknown := {*self.without, *self.often} - set(DEFECT_KINDS):
            raise ValueError(f"there are no defects of kind {', '.join(sorted(unknown))}; there are {', '.join(DEFECT_KINDS)}")
        if set(self.without) >= set(DEFECT_KINDS):
            raise ValueError("without names every kind of defect: there would be none to learn from")
        shares = [field.name for field in fields(self) if field.type is float and field.name not in ("finer", "stretch")]
        _check_range(0, 1, **{name: getattr(self, name) for name in shares})
        _check_range(0, 0.5, stretch=self.stretch)
        _check_range(0, skulls=self.skulls, distinct=self.distinct)
        _check_range(1e-6, finer=self.finer)


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are fitted: AdamW, learning rate warmed up over `warmup` steps, then a half cosine down to zero.

    decay         whether the rate comes down; without, it stays, as in the paper
    added_weight  weight in the loss of sites the input does not have, against 1 for those it has; 1 is the paper's loss
    overlap_weight  weight in the loss of one minus the Dice overlap of what is added with what is missing; 0 is the paper's loss
    precision     fp32, or bf16: features in bfloat16, which halves their memory on a GPU; weights and sums stay in fp32
    """

    steps: int
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 200
    decay: bool = True
    added_weight: float = 1.0
    overlap_weight: float = 0.0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision cannot be {self.precision!r}; it is one of {', '.join(PRECISIONS)}")
        _check_range(1, steps=self.steps, batch=self.batch)
        weights = {name: getattr(self, name) for name in ("weight_decay", "overlap_weight")}
        _check_range(0, learning_rate=self.learning_rate, warmup=self.warmup, **weights)
        _check_range(1e-6, added_weight=self.added_weight)


@dataclass(frozen=True)
class TrainConfig:
    """A training run. In the file, `network` is the name of a configuration of `calvaria.networks`, or a table of its own.

    continues  the run was made to go on from weights: without them it is told that it is short
    second     the network is a task's second look, at what another one, already trained, says
    until      the run ends after this step, as if it had been cut off there; None: it goes to its end. Without it, or with a later one,
               the same folder goes on.
    dense      the network's dense twin is trained instead, for comparison: the same layers on whole grids
    """

    task: str
    seed: int
    network: NetworkConfig
    settings: Settings
    data: DataConfig
    optimizer: OptimizerConfig
    validate_every: int = 1000
    validation_skulls: int = 16
    continues: bool = False
    second: bool = False
    dense: bool = False
    until: int | None = None

    def __post_init__(self) -> None:
        _check_range(1, validate_every=self.validate_every, validation_skulls=self.validation_skulls)
        _check_range(1, until=1 if self.until is None else self.until)
        settings = self.settings
        _check_range(0, seed=self.seed, margin_mm=settings.margin_mm, smallest_mm3=settings.smallest_mm3)
        _check_range(0, LARGEST_CELL_MM, spacing_mm=settings.spacing_mm)
        if settings.spacing_mm and not self.data.cases:
            voxels = {"spacing_mm / finer, the edge of a generated skull's voxels in mm,": settings.spacing_mm / self.data.finer}
            _check_range(*VOXELS_MM, **voxels)
        _check_range(0, 1, occupied_share=settings.occupied_share, threshold=settings.threshold)

    @classmethod
    def read(cls, path: Path) -> "TrainConfig":
        """From a TOML file; ValueError names an unknown or missing key."""
        values = tomllib.loads(Path(path).read_text())
        network = values.get("network")
        if isinstance(network, str):
            if network not in CONFIGS:
                raise ValueError(f"{path}: there is no network {network}; there are {', '.join(CONFIGS)}")
            values["network"] = CONFIGS[network]
        return cls.of(values, where=str(path))

    @classmethod
    def of(cls, values: dict[str, Any], where: str) -> "TrainConfig":
        """From what a file holds, or `dataclasses.asdict` makes; ValueError names `where` an unknown or missing key is."""
        return _fill(cls, values, where)

    @property
    def last_step(self) -> int:
        return self.optimizer.steps if self.until is None else min(self.until, self.optimizer.steps)

    @property
    def whole(self) -> "TrainConfig":
        """The run that this one is, or is the beginning of."""
        return replace(self, until=None)


def _check_range(least: float, most: float = math.inf, **values: float) -> None:
    """ValueError names the first of them that is less, more, or not finite."""
    for name, value in values.items():
        if not math.isfinite(value) or not least <= value <= most:
            allowed = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise ValueError(f"{name} cannot be {value:g}; it is {allowed}")


def _fill(cls: type[T], values: dict[str, Any], where: str) -> T:
    types = get_type_hints(cls)
    if unknown := values.keys() - types.keys():
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}; known are {', '.join(types)}")
    tables = {name: value for name, value in values.items() if isinstance(value, dict) and is_dataclass(types[name])}
    filled = values | {name: _fill(types[name], value, f"{where}, {name}") for name, value in tables.items()}
    for name, value in filled.items():
        if not _fits(value, types[name]):
            raise ValueError(f"{where}: {name} cannot be {value!r}; it is {_said(types[name])}")
    try:
        return cls(**filled)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _fits(value: object, wanted: object) -> bool:
    """Whether a value from a file is of a field's type; whole numbers are real ones, too, and truth is no number."""
    allowed = get_args(wanted) or (wanted,)
    if isinstance(value, bool):
        return bool in allowed
    if isinstance(value, int | float):
        return float in allowed or (int in allowed and isinstance(value, int))
    if isinstance(value, list | tuple):
        return get_origin(wanted) is tuple and all(_fits(item, allowed[0]) for item in value)
    if isinstance(value, str):
        return str in allowed and get_origin(wanted) is not tuple
    return type(value) in allowed or value is None


def _said(wanted: object) -> str:
    """A field's type in words."""
    named = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    allowed = get_args(wanted) or (wanted,)
    if get_origin(wanted) is tuple:
        return f"a list, each item {named[allowed[0]]}"
    return next((words for kind, words in named.items() if kind in allowed), "a table")
