"""`calvaria bench engines`: the same network on the same masks, by one engine after the other, each in a process of its own."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from calvaria.bench.machine import MIB, description
from calvaria.bench.output import write_output
from calvaria.bench.peers import PEERS
from calvaria.bench.process import alone
from calvaria.bench.subjects import ENGINES, subjects_of
from calvaria.bench.volumes import masks, save
from calvaria.bench.worker import Job, Measured
from calvaria.console import Report
from calvaria.errors import bad_option
from calvaria.files import check_writable
from calvaria.networks import CONFIGS

CLOCK = {
    False: "to the logits of every candidate at stride 1",
    True: "through forward, loss and backward, without an optimizer",
}


FEATURES = ("bfloat16", "float32")
"""Types in which the heaviest convolution is measured on a GPU."""


@dataclass(frozen=True)
class Result:
    """A subject's measurement, or why there is none."""

    subject: str
    measured: Measured | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Everything that was asked and measured; `active`: occupied voxels of the whole batch."""

    volume: str
    shapes: list[tuple[int, ...]]
    active: int
    channels: str
    device: str
    train: bool
    repeat: int
    machine: dict[str, Any]
    rows: list[Result]

    @property
    def first(self) -> Measured | None:
        """What the others' time and memory are compared with: the first that could be measured."""
        return next((row.measured for row in self.rows if row.measured), None)

    @property
    def first_sparse(self) -> Result | None:
        """What the others' answers are compared with: the first that could be measured and judged sites, not whole grids."""
        return next((row for row in self.rows if row.measured and not row.subject.startswith("dense")), None)


DEFAULTS = {"cpu": "native,reference,minkowski,dense", "cuda": ",".join(["native", "minkowski", *PEERS, "dense"])}
"""What is compared unless it is said, by type of device."""


def engine_names(listed: str) -> list[str]:
    """Engines named in a list with commas. CalvariaError BAD_OPTION for an unknown or repeated name."""
    names = [name.strip() for name in listed.split(",")]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or len(set(names)) < len(names):
        problem = f"There is no engine {unknown[0]!r}" if unknown else "An engine is named twice"
        raise bad_option(f"{problem}. Name some of: {', '.join(ENGINES)}.")
    return names


def bench(
    volume: str, channels: str, engines: str | None, device: str, train: bool, repeat: int, batch: int, limit_s: float, out: Path | None
) -> None:
    """Compare, print the table, and write everything to the JSON file `out`. CalvariaError BAD_OPTION where that cannot be."""
    if out:
        check_writable(out)
    console = Console()
    report = Report(console if console.is_terminal else Console(width=120))
    listed = DEFAULTS[device.partition(":")[0]] if engines is None else engines
    found = compare(volume, channels, engine_names(listed), device, train, repeat, batch, limit_s, report)
    report.show(table(found))
    for line in notes(found):
        report.say(line)
    write_output(out, asdict(found) | {"notes": notes(found)}, report)


def compare(
    volume: str, channels: str, engines: Sequence[str], device: str, train: bool, repeat: int, batch: int, limit_s: float, report: Report
) -> Comparison:
    """Measure each engine; see `calvaria.bench.volumes` for `volume`, and `Job` for the rest."""
    if channels not in CONFIGS:
        raise bad_option(f"There are no channels {channels!r}. Choose one of: {', '.join(CONFIGS)}.")
    machine = description(device)
    with TemporaryDirectory(prefix="calvaria-bench-") as folder:
        with report.stage(f"making {volume}"):
            items = masks(volume, batch)
            save(Path(folder) / "masks.npz", items)
        shapes, active = [item.shape for item in items], sum(int(item.sum()) for item in items)
        del items
        with report.stage("ceilings of the machine"):
            machine["ceilings"] = alone("calvaria.bench.ceilings", device)
        rows = []
        for subject in (subject for engine in engines for subject in subjects_of(engine, device)):
            with report.stage(subject):
                rows.append(_measure(Job(folder, subject, channels, device, train, repeat, limit_s)))
        if device != "cpu":
            with report.stage("heaviest convolution"):
                machine["heaviest"] = [_heaviest(folder, channels, device, name) for name in FEATURES]
    return Comparison(volume, shapes, active, channels, device, train, repeat, machine, rows)


def table(found: Comparison) -> Table:
    """One line per subject."""
    sizes = sorted({" × ".join(map(str, shape)) for shape in found.shapes})
    table = Table(
        title=f"{found.volume}: {len(found.shapes)} of {', '.join(sizes)}, {found.active:,} voxels; "
        f"{found.channels}, {'training' if found.train else 'inference'} on {found.device}"
    )
    table.add_column("engine", no_wrap=True)
    for heading in ("candidates", "s", "least – most", "ns/voxel", "ratio", "peak MiB", "growth", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    faster = _faster_dense(found.rows)
    for row in found.rows:
        figures = _figures(row.measured, found.first, found.active) if row.measured and found.first else ["not measured"]
        table.add_row(f"{row.subject} (faster)" if row is faster else row.subject, *figures)
    return table


def notes(found: Comparison) -> list[str]:
    """What a reader of the table must know: what the clock and the scales saw, on what machine, and what is missing."""
    machine = found.machine
    memory = (
        "reserved by PyTorch, and the most allocated"
        if found.device != "cpu"
        else "of the process, and its growth over imports and weights"
    )
    where = machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores, native {machine['native_simd']}"
    start = "bool masks in memory" if found.device == "cpu" else "packed bits on the host (dense: bool masks on the GPU)"
    busy = " (others were at work: times are unreliable)" if machine["load"] > machine["cores"] / 2 else ""
    lines = [
        f"Time: from {start} {CLOCK[found.train]}; median of up to {found.repeat} runs.",
        f"Memory: {memory}. Ratios are to the first line measured.",
        f"Machine: {where}, PyTorch {machine['torch']} ({machine['torch_simd']}), load {machine['load']} before{busy}; "
        f"at best {', '.join(f'{name} {rate:.0f}' for name, rate in machine['ceilings'].items())}.",
    ]
    lines += [_bandwidth(heaviest, machine["ceilings"]["copy_gb_s"]) for heaviest in machine.get("heaviest", [])]
    lines += [f"{row.subject}: not measured: {row.reason}" for row in found.rows if not row.measured]
    if first := found.first_sparse:
        lines += [
            f"{row.subject}: its candidates or logits are not those of {first.subject}!" for row in found.rows if _deviates(row, first)
        ]
    return lines


def _bandwidth(heaviest: dict[str, Any], copy_gb_s: float) -> str:
    if "not_measured" in heaviest:
        return f"Heaviest convolution in {heaviest['dtype']}: not measured: {heaviest['not_measured']}"
    rate = heaviest["moved_bytes"] / heaviest["seconds"] / 1e9
    return (
        f"Heaviest convolution, at {heaviest['candidates']:,} sites in {heaviest['dtype']}: {1000 * heaviest['seconds']:.2f} ms to move "
        f"{heaviest['moved_bytes'] / MIB:,.0f} MiB at least, {rate:,.0f} GB/s: {100 * rate / copy_gb_s:.0f} % of what a copy moves."
    )


def _figures(measured: Measured, first: Measured, active: int) -> list[str]:
    middle, (peak, growth), (_, reference) = median(measured.seconds), _memory(measured), _memory(first)
    return [
        f"{measured.candidates:,}",
        f"{middle:.4f}",
        f"{min(measured.seconds):.4f} – {max(measured.seconds):.4f}",
        f"{middle / max(active, 1) * 1e9:.0f}",
        f"{middle / median(first.seconds):.2f}",
        f"{peak / MIB:.0f}",
        f"{growth / MIB:.0f}",
        f"{growth / max(reference, 1):.2f}",
    ]


def _memory(measured: Measured) -> tuple[int, int]:
    """Peak memory, and how much of it the work is, bytes: of the process on a CPU; reserved and allocated by PyTorch on a GPU."""
    if measured.gpu_allocated_bytes is not None and measured.gpu_reserved_bytes is not None:
        return measured.gpu_reserved_bytes, measured.gpu_allocated_bytes
    return measured.peak_bytes, measured.peak_bytes - measured.baseline_bytes


def _deviates(row: Result, first: Result) -> bool:
    """Whether a sparse engine judged other candidates than the first one did, or judged them differently.

    The peers' weights are not the network's: of theirs only the number of candidates can be compared.
    """
    if not row.measured or not first.measured or row.subject.startswith("dense"):
        return False
    if any(each.subject.partition(" ")[0] in PEERS for each in (row, first)):
        return row.measured.candidates != first.measured.candidates
    mean, deviation = first.measured.logits_mean, first.measured.logits_std
    apart = max(abs(row.measured.logits_mean - mean), abs(row.measured.logits_std - deviation))
    allowed = 3e-2 if any(each.subject.endswith("bf16") for each in (row, first)) else 1e-3
    return row.measured.candidates != first.measured.candidates or apart > allowed * (deviation + abs(mean))


def _faster_dense(rows: Sequence[Result]) -> Result | None:
    times = [(median(row.measured.seconds), i) for i, row in enumerate(rows) if row.measured and row.subject.startswith("dense")]
    return rows[min(times)[1]] if len(times) > 1 else None


def _heaviest(folder: str, channels: str, device: str, dtype: str) -> dict[str, Any]:
    """The heaviest convolution, by `calvaria.bench.heaviest`; its failure costs nothing else that was measured."""
    try:
        found: dict[str, Any] = alone("calvaria.bench.heaviest", json.dumps([folder, channels, device, dtype]))
    except RuntimeError as error:
        return {"dtype": dtype, "not_measured": str(error)}
    return found


def _measure(job: Job) -> Result:
    try:
        answer = alone("calvaria.bench.worker", json.dumps(asdict(job)))
    except RuntimeError as error:
        return Result(job.subject, None, str(error))
    return Result(job.subject, None, answer["not_measured"]) if "not_measured" in answer else Result(job.subject, Measured(**answer))
