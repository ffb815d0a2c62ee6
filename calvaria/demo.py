"""One skull through a running TorchServe, over both transports, to an implant on disk, a picture and its scores; then the other tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from calvaria.console import Report, read_volume
from calvaria.datasets import Pair
from calvaria.errors import bad_option
from calvaria.evaluation.cases import cut, turn
from calvaria.evaluation.defects import TEST_KINDS
from calvaria.evaluation.implants import score
from calvaria.files import check_apart, make_folder
from calvaria.io import encode, write
from calvaria.picture import render_implant
from calvaria.server.server import Server
from calvaria.showcase import EXHIBITS, both_ways, show
from calvaria.synthetic import make_skull
from calvaria.volume import BinaryVolume

MODEL = "completion"
OUTPUTS = "completed", "implant"
GENERATED_SEED, GENERATED_CUT, GENERATED_SPACING_MM = 7, 3, 0.4


@dataclass(frozen=True, eq=False)
class DemoCase:
    """What the demonstration is about: a defective skull, and its true implant where that is known."""

    defective: BinaryVolume
    true_implant: BinaryVolume | None
    title: str


def demonstrate(folder: Path, out: Path, volume: Path | None = None, truth: Path | None = None, seed: int | None = None) -> None:
    """Complete a skull through the server configured in `folder`, and write completed.nrrd, implant.nrrd and implant.png to `out`.

    With the generated skull, a case of each other task follows (`calvaria.showcase`).

    volume  a defective skull; a whole one with `seed`, which decides the defect cut into it; a generated one by default
    truth   the true implant, or the whole skull, on the volume's grid

    The server is started, and stopped whatever happens. Raises CalvariaError, also if the two transports' answers differ.
    """
    check_apart([volume, truth], [out / f"{name}.nrrd" for name in OUTPUTS])
    report = Report(Console())
    server = Server(folder)
    with report.stage("Reading the skull" if volume else "Generating a full-size skull (512³ class, 0.4 mm) and its defect"):
        case = load_case(volume, truth, seed)
    report.say(f"{case.title}: {' × '.join(map(str, case.defective.shape))} voxels, {case.defective.occupied:,} occupied")
    with report.stage("Encoding it"):
        body = encode(case.defective, "nrrd")
    make_folder(out)
    with report.stage("Starting TorchServe, until its worker is ready"):
        server.start()
    try:
        outputs = both_ways(server, MODEL, body, OUTPUTS, report)
        write_results(case, outputs, out, report)
        for task in EXHIBITS if volume is None else ():
            show(task, server, out, report)
    finally:
        with report.stage("Stopping TorchServe"):
            server.stop()


def load_case(volume: Path | None, truth: Path | None, seed: int | None) -> DemoCase:
    """See `demonstrate`. CalvariaError for a combination that makes no sense, or a truth that lies elsewhere."""
    if truth and (seed is not None or volume is None):
        raise bad_option("A truth goes with a defective volume; a defect that is cut here is its own truth.")
    if volume is None:
        skull = make_skull(GENERATED_SEED, GENERATED_SPACING_MM)
        return _cut(skull, GENERATED_CUT if seed is None else seed, "Generated skull, defect")
    if truth:
        return DemoCase(*Pair(volume.name, volume.name, "", volume, implant=truth).read(), volume.name)
    given = read_volume(volume)
    if seed is not None:
        return _cut(given, seed, f"{volume.name}, defect cut with seed {seed}")
    return DemoCase(given, None, volume.name)


def _cut(skull: BinaryVolume, seed: int, title: str) -> DemoCase:
    kind = turn(seed, TEST_KINDS)
    case = cut(skull, seed, kind)
    return DemoCase(case.given, case.truth, f"{title}: {kind}")


def write_results(case: DemoCase, outputs: Mapping[str, BinaryVolume], out: Path, report: Report) -> None:
    with report.stage("Writing the volumes"):
        for name, volume in outputs.items():
            write(out / f"{name}.nrrd", volume)
    with report.stage("Drawing the picture"):
        render_implant(case.defective, outputs["implant"], out / "implant.png", case.title)
    if case.true_implant is None:
        report.say("No scores: the true implant is not known.")
    else:
        with report.stage("Scoring"):
            scores = score(outputs, case.true_implant, case.defective)
        report.show(score_table(scores))
    report.say("Written: " + ", ".join(str(out / name) for name in ("completed.nrrd", "implant.nrrd", "implant.png")))


def score_table(scores: Mapping[str, float]) -> Table:
    table = Table("implant DSC", "border DSC", "HD95", "whole-skull DSC", title="Against the true implant")
    table.add_row(*(each.format(**scores) for each in ("{implant_dice:.3f}", "{border_dice:.3f}", "{hd95_mm:.2f} mm", "{skull_dice:.4f}")))
    return table
