"""`python -m loadtest run` loads a server and records every request; `python -m loadtest report` says what the records show."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calvaria.cli import main
from calvaria.console import Report
from loadtest.workload import FORM

REPOSITORY = Path(__file__).resolve().parents[1]

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command("run")
def run_command(
    mix: Annotated[str, typer.Option(help=f"What is sent: {FORM}.")] = "64:5,128:3,256:1",
    rate: Annotated[float | None, typer.Option(help="Open loop: so many requests a second, whatever becomes of them.")] = None,
    arrivals: Annotated[str, typer.Option(help="Of an open loop: poisson or constant.")] = "poisson",
    clients: Annotated[int | None, typer.Option(help="Closed loop: so many clients, each of which waits for its answer.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Send for so long.")] = None,
    requests: Annotated[int | None, typer.Option(help="Send so many.")] = None,
    warmup_s: Annotated[float, typer.Option(help="Leave out of the report what is due before.")] = 2.0,
    transport: Annotated[str, typer.Option(help="http, grpc or both.")] = "both",
    output: Annotated[
        str | None, typer.Option(help="Which of the model's outputs to ask for; several with commas. Default: its first, or the implant.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Ask for a report: over gRPC only that tells the server's times.")] = False,
    model: Annotated[str, typer.Option(help="Which model to load.")] = "completion",
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, choices, skulls and defects.")] = 1,
    variants: Annotated[int, typer.Option(help="Different volumes of each size.")] = 2,
    timeout_s: Annotated[float, typer.Option(help="Give an answer up after so long.")] = 60.0,
    sample_s: Annotated[float, typer.Option(help="Look at the server's metrics and memory so often.")] = 1.0,
    compare: Annotated[bool, typer.Option("--compare", help="Compare every answer with a local prediction, voxel by voxel.")] = False,
    models: Annotated[Path | None, typer.Option(help="Folder of the weights to compare with; default: the ones shipped.")] = None,
    folder: Annotated[
        Path, typer.Option(help="Of the server: holds config.properties, which names its addresses, and key_file.json.")
    ] = Path(),
    start: Annotated[bool, typer.Option("--start", help="Start a server for this run, apart from others, and stop it afterwards.")] = False,
    out: Annotated[Path, typer.Option(help="The recording, as JSON lines.")] = Path("out/loadtest/run.jsonl"),
) -> None:
    """Load a server, and record every request.

    Exit status 1 if a request was not answered as it should be, an answer differs from the local prediction, or none came to compare.
    """
    from calvaria.predictor import Predictor
    from calvaria.server.server import Server
    from calvaria.weights import model_folder
    from loadtest.record import check_recording
    from loadtest.run import Plan
    from loadtest.session import measure, own_server

    plan = Plan(
        mix=mix,
        seed=seed,
        variants=variants,
        output=output,
        report=report,
        model=model,
        transport=transport,
        rate_hz=rate,
        arrivals=arrivals,
        clients=clients,
        duration_s=duration_s,
        requests=requests,
        warmup_s=warmup_s,
        timeout_s=timeout_s,
        sample_s=sample_s,
    )
    say = Report(Console())
    check_recording(out)
    predictor = Predictor.load(model_folder(model, models)) if compare else None
    with own_server(REPOSITORY, out.parent / "server", say) if start else nullcontext(Server(folder)) as server:
        measured = measure(plan, server, out, say, predictor)
    say.say(f"Recorded: {out}; see it with `python -m loadtest report {out}`.")
    wrong = sum(bool(verdict.problem) for verdict in measured.verdicts)
    if measured.unexpected:
        say.say(f"{measured.unexpected} requests were not answered as they should be.")
    if compare and not measured.verdicts:
        say.say("Nothing was compared: no request was answered by a volume.")
    if wrong:
        say.say(f"{wrong} distinct answers are not what the same weights say here.")
    if measured.unexpected or wrong or (compare and not measured.verdicts):
        raise typer.Exit(1)


@app.command("report")
def report_command(
    recording: Annotated[Path, typer.Argument(help="A file that `loadtest run` wrote.")] = Path("out/loadtest/run.jsonl"),
    warmup_s: Annotated[float | None, typer.Option(help="Leave out what was due before; default: as the run was told.")] = None,
) -> None:
    """Percentiles, rates, errors, batches and memory: as tables here, as JSON and as one HTML page beside the recording."""
    from loadtest.report import report

    report(recording, Console(), warmup_s)


if __name__ == "__main__":
    main(app)
