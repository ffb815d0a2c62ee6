"""The demonstration's other tasks: a generated case of each through a running server, over both transports, beside a plain baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from calvaria.client import Client, GrpcClient
from calvaria.client.codec import Answer, Caller
from calvaria.console import Report
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.assessments import ASSESSMENTS
from calvaria.evaluation.scoring import Drawn, Figure, Planned
from calvaria.evaluation.sheet import captioned
from calvaria.files import write_file
from calvaria.io import encode, encode_scan, write
from calvaria.server.server import Server
from calvaria.tasks import TASKS, Extras
from calvaria.volume import BinaryVolume


@dataclass(frozen=True)
class Exhibit:
    """What is shown of a task: a case that its test draws, and the baseline that stands for what was there before."""

    seed: int
    kinds: tuple[str, ...]
    baseline: str

    def planned(self, task: str) -> Planned:
        (planned,) = ASSESSMENTS[task].usual.generated(Drawn(range(self.seed, self.seed + 1), self.kinds))
        return planned


EXHIBITS = {
    "super-resolution": Exhibit(7, ("64-256",), "shape-based"),
    "refinement": Exhibit(3, ("aorta", "drawn", "scan"), "input unchanged"),
}


def show(task: str, server: Server, out: Path, report: Report) -> None:
    """Ask a running server about a task's exhibit; write what was given, the answer and a picture to `out`; score.

    CalvariaError, also if the two transports' answers differ.
    """
    exhibit, scoring = EXHIBITS[task], ASSESSMENTS[task].usual.scoring
    with report.stage(f"Generating a case for {task}"):
        planned = exhibit.planned(task)
        case = planned.make()
    output = TASKS[task].outputs[0]
    scan = None if case.extras.image is None else encode_scan(case.extras.image, case.given.affine)
    answer = both_ways(server, task, encode(case.given, "nrrd"), (output,), report, scan, case.extras)[output]
    with report.stage("Drawing and scoring"):
        write(out / f"{task}-given.nrrd", case.given)
        if scan:
            write_file(out / f"{task}-scan.nrrd", scan)
        write(out / f"{task}-{output}.nrrd", answer)
        if scoring.picture:
            captioned(scoring.picture(case, {output: answer}), f"{planned.name}: given, truth, {output}").save(out / f"{task}.png")
        before = scoring.baselines[exhibit.baseline](case.given, case.extras)
        scores = {name: scoring.score(case, outputs) for name, outputs in ((exhibit.baseline, before), ("Calvaria", {output: answer}))}
    report.show(_table(planned.name, [figure for figure in scoring.figures if figure.shown], scores))


def both_ways(
    server: Server,
    model: str,
    body: bytes,
    outputs: Sequence[str],
    report: Report,
    scan: bytes | None = None,
    extras: Extras = Extras(),
) -> dict[str, BinaryVolume]:
    """Ask for outputs over HTTP and again over gRPC, and make sure that the answers are the same volumes."""
    name = server.name
    with (
        Client(server.settings.url("inference"), key_file=server.key_file, ca_file=server.settings.certificate, name=name) as http,
        GrpcClient(server.settings.grpc_target, key_file=server.key_file, ca_file=server.settings.grpc_certificate, name=name) as grpc,
    ):
        over_http = [_ask(http, "HTTP", model, body, output, report, scan, extras) for output in outputs]
        over_grpc = [_ask(grpc, "gRPC", model, body, output, report, scan, extras) for output in outputs]
    for output, one, other in zip(outputs, over_http, over_grpc, strict=True):
        require_same(output, one.volume, other.volume)
    report.say("HTTP and gRPC gave the same voxels and the same geometry.")
    return {output: answer.volume for output, answer in zip(outputs, over_http, strict=True)}


def require_same(output: str, one: BinaryVolume, other: BinaryVolume) -> None:
    """CalvariaError INTERNAL unless two volumes hold the same voxels and geometry."""
    if not (one.same_grid(other) and np.array_equal(one.mask, other.mask)):
        raise CalvariaError(ErrorCode.INTERNAL, f"HTTP and gRPC gave different volumes for {output}: please report this.")


def _ask(
    caller: Caller, transport: str, model: str, body: bytes, output: str, report: Report, scan: bytes | None, extras: Extras
) -> Answer:
    with report.stage(f"Asking {model} over {transport} for {output} ({(len(body) + len(scan or b'')) / 1e6:.1f} MB)"):
        answer = caller.request(model, body, image=scan, output=output, format="nrrd", factor=extras.factor, spacing_mm=extras.spacing_mm)
    if answer.seconds:
        report.say("  in the server: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in answer.seconds.items()))
    return answer


def _table(title: str, figures: Sequence[Figure], scores: dict[str, dict[str, float]]) -> Table:
    table = Table("method", *(figure.heading for figure in figures), title=title)
    for name, found in scores.items():
        table.add_row(name, *(f"{found[figure.name]:.{figure.digits}f}" for figure in figures))
    return table
