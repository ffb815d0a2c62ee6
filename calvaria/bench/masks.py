"""`calvaria bench masks`: what every request pays to turn a mask into sites and back, against reading it once and writing it once."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from calvaria.bench.machine import description
from calvaria.bench.output import write_output
from calvaria.bench.volumes import masks
from calvaria.console import Report
from calvaria.files import check_writable
from calvaria.sparse import SiteSet
from calvaria.sparse.engines import choose


@dataclass(frozen=True)
class Passage:
    """What was done to the mask, in which order the mask lay in memory, and the seconds of each time."""

    what: str
    order: str
    seconds: list[float]


def bench(volume: str, engine: str, repeat: int, out: Path | None) -> None:
    """Measure one mask, print the table, and write everything to the JSON file `out`. CalvariaError BAD_OPTION where that cannot be."""
    if out:
        check_writable(out)
    console = Console()
    report = Report(console if console.is_terminal else Console(width=120))
    machine = description("cpu")
    with report.stage(f"making {volume}"):
        mask = torch.from_numpy(masks(volume, 1)[0])
    with report.stage("measuring"):
        passages = measure(mask, engine, repeat)
    report.show(table(passages, f"{volume}: {' × '.join(map(str, mask.shape))}, {int(mask.sum()):,} voxels; engine {engine}"))
    report.say(
        "z fastest: as the network wants it; x fastest: as files are read. Ratios: to copies of a mask, which read it and write it once."
    )
    found = {"volume": volume, "engine": engine, "machine": machine, "passages": [asdict(each) for each in passages]}
    write_output(out, found, report)


def measure(mask: Tensor, engine: str, repeat: int) -> list[Passage]:
    """Every passage in turn, `repeat` times after one that warms up, so that a busy moment meets all alike.

    CalvariaError BAD_OPTION where the engine cannot run.
    """
    choose(engine, "cpu")
    flat, along_z, along_x = torch.empty_like(mask.contiguous()), mask.contiguous(), mask.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("copy into memory in use", "z fastest"): lambda: flat.copy_(along_z),
        ("copy into new memory", "z fastest"): lambda: along_z.clone(),
    }
    for order, given in (("z fastest", along_z), ("x fastest", along_x)):
        calls["mask → bits → mask", order] = lambda given=given: _there_and_back(given, engine)  # type: ignore[misc]
        calls["mask → bits → coordinates → bits → mask", order] = lambda given=given: _by_coordinates(given, engine)  # type: ignore[misc]
    seconds: dict[tuple[str, str], list[float]] = {each: [] for each in calls}
    for _ in range(repeat + 1):
        for each, call in calls.items():
            start = perf_counter()
            call()
            seconds[each].append(perf_counter() - start)
    return [Passage(what, order, times[1:]) for (what, order), times in seconds.items()]


def _there_and_back(mask: Tensor, engine: str) -> Tensor:
    return SiteSet.from_masks([mask], engine).masks()[0]


def _by_coordinates(mask: Tensor, engine: str) -> Tensor:
    sites = SiteSet.from_masks([mask], engine)
    return SiteSet.from_coordinates(sites.coordinates, sites.extents, engine=engine).masks()[0]


def table(passages: list[Passage], title: str) -> Table:
    """One line per passage."""
    table = Table(title=title)
    for heading in ("", "mask"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ms", "least – most", "of a new copy", "of a copy in place"):
        table.add_column(heading, justify="right", no_wrap=True)
    in_place, anew = (median(passage.seconds) for passage in passages[:2])
    for passage in passages:
        middle, least, most = (1000 * value for value in (median(passage.seconds), min(passage.seconds), max(passage.seconds)))
        ratios = [f"{middle / 1000 / copy:.2f}" for copy in (anew, in_place)]
        table.add_row(passage.what, passage.order, f"{middle:.1f}", f"{least:.1f} – {most:.1f}", *ratios)
    return table
