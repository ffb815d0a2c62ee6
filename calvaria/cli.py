"""The `calvaria` command. Each command imports what it needs when it runs, so that `calvaria --help` is quick."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from calvaria import __version__
from calvaria.commands import data, synth
from calvaria.errors import CalvariaError, bad_option
from calvaria.files import using
from calvaria.server import termination

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data.app)
app.add_typer(synth.app, name="synth")
bench = typer.Typer(help="Measure time and memory.", no_args_is_help=True)
app.add_typer(bench, name="bench")


def _available(device: str) -> str:
    """The device, if this machine has it; torch is imported only to look for another than the CPU."""
    if device == "cpu":
        return device
    import torch

    gpus = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    if device not in gpus:
        raise bad_option(f"There is no device {device!r} here. Choose one of: {', '.join(['cpu', *gpus])}.")
    return device


TASKS = "completion, super-resolution or refinement"
"""Those of `calvaria.tasks`, which is imported only when it is needed."""

Models = Annotated[Path | None, typer.Option(help="Folder with a folder per task that holds its weights.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or cuda:0 and so on.", callback=_available)]
Engine = Annotated[str, typer.Option(help="What computes: auto, native, reference or minkowski.")]
ServerFolder = Annotated[Path, typer.Option(help="Folder that holds config.properties; key_file.json and logs/ are written into it.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"calvaria {__version__}")
        raise typer.Exit


@app.callback()
def _logging(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what was chosen and how long it took.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)] = False,
) -> None:
    import logging

    from rich.console import Console
    from rich.logging import RichHandler

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)])


@app.command()
def predict(
    task: Annotated[str, typer.Argument(help=f"What to do: {TASKS}.")],
    volume: Annotated[Path, typer.Argument(help="A binary volume: .nrrd, .nii or .nii.gz; or a folder of them.")],
    out: Annotated[
        Path,
        typer.Option(
            help="Where the answer goes; its suffix chooses the format, .zip for several outputs. For a folder of volumes: a folder."
        ),
    ],
    output: Annotated[
        str | None, typer.Option(help="The task's outputs, with commas; of completion: completed (default), implant.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="Of the files in a ZIP (stl, too) or a folder; default: the input's own.")] = None,
    label: Annotated[int | None, typer.Option(help="Take this label of a multi-label volume; default: anything above zero.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Probability from which a place is filled; default: the model's own.")] = None,
    smallest_mm3: Annotated[float | None, typer.Option(help="Drop smaller pieces of an implant or a refined mask; default: 200.")] = None,
    spacing_mm: Annotated[float | None, typer.Option(help="Edge of the answer's voxels, for tasks that refine them.")] = None,
    factor: Annotated[float | None, typer.Option(help="How many times finer the answer's voxels are, for such tasks; default: 2.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="The scan that the mask was drawn in, on its grid, for tasks that use it; or a folder.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="JSON file for what was measured and what to mind; a folder has an index.")] = None,
    models: Models = None,
    device: Device = "cpu",
    engine: Engine = "auto",
) -> None:
    """Answer for one volume, or for every volume in a folder, without any server.

    Of a folder, a volume that is refused is a row of the index with its error, and exit status 1; the others are answered. Run again, the
    command goes on where it stopped.
    """
    from calvaria.commands.folder import answer_folder
    from calvaria.commands.predict import answer_file, write_report
    from calvaria.files import check_apart, check_folder, check_suffix

    extras: dict[str, Any] = {"spacing_mm": spacing_mm, "factor": factor}
    options: dict[str, Any] = {"output": output, "format": format, "label": label, "threshold": threshold, "smallest_mm3": smallest_mm3}
    if volume.is_dir():
        if report:
            raise bad_option("For a folder, index.csv says what to mind: leave out --report.")
        answer_folder(task, volume, out, models, device, engine, image, **options, **extras)
        return
    check_apart([volume, image], [out, report])
    if report:
        check_suffix(report, ".json")
        check_folder(report)
    found = answer_file(task, volume, out, models, device, engine, image, **options, **extras)
    if report:
        write_report(report, found)


@app.command()
def train(
    task: Annotated[str, typer.Argument(help=f"What to learn: {TASKS}.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the weights; a run found there is continued.")],
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file; default: models/TASK/train.toml. The model card names the runs that made the shipped weights."),
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Folder of the weights that a new run starts from; default: random ones.")] = None,
    first: Annotated[Path | None, typer.Option(help="For a second look: folder of the first network's weights.")] = None,
    cases_from: Annotated[Path | None, typer.Option(help="Learn from this folder: defective skulls, or rough masks, with truths.")] = None,
    device: Device = "cpu",
) -> None:
    """Fit a task's network, on data generated from a seed or on your own."""
    from calvaria.training.run import run
    from calvaria.weights import model_folder

    run(task, config or model_folder(task) / "train.toml", out, device, start, first, cases_from)


@app.command()
def retrain(
    out: Annotated[Path, typer.Option(help="Folder of all the runs; those found there are continued.")] = Path("runs"),
    device: Device = "cpu",
) -> None:
    """Make the shipped weights again: every run of models/recipe.toml, one to two days on two cores."""
    from calvaria.training.recipe import retrain

    retrain(out, device)


@app.command()
def serve(
    folder: ServerFolder = Path(),
    timeout_s: Annotated[float, typer.Option(help="Give up unless every worker of every model is ready after this many seconds.")] = 330.0,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop the server when interrupted.")] = False,
) -> None:
    """Start TorchServe, wait until its models are ready, and say how to call it."""
    from calvaria.server.server import Server
    from calvaria.server.usage import how_to_call

    server = Server(folder)
    typer.echo("Starting TorchServe …")
    server.start(timeout_s)
    typer.echo(how_to_call(server))
    if foreground:
        server.serve_until_interrupted()


@app.command()
def stop(folder: ServerFolder = Path()) -> None:
    """Stop the server that `calvaria serve` started."""
    from calvaria.server.server import Server

    typer.echo("The server has stopped." if Server(folder).stop() else "No server was running that `calvaria serve` had started.")


@app.command()
def status(folder: ServerFolder = Path()) -> None:
    """Say which workers are ready; exit status 1 unless every model can answer, so that it serves as a readiness check.

    Also where the token for requests has expired; from a week before, that is told.
    """
    from datetime import timedelta

    from calvaria.server.server import Server
    from calvaria.server.usage import about_token, why_silent

    server = Server(folder)
    workers = server.management.workers()
    for worker in workers:
        typer.echo(f"{worker.model}: worker {worker.pid} {'ready' if worker.ready else 'not ready'}")
    if not workers:
        typer.echo(why_silent(server))
    unable = server.management.unable(workers)
    if workers and unable:
        typer.echo(f"No worker is ready for {', '.join(unable)}.")
    left = server.token_left
    if workers and (told := about_token(left)):
        typer.echo(told)
    if not workers or unable or left <= timedelta():
        raise typer.Exit(1)


@app.command()
def renew(folder: ServerFolder = Path()) -> None:
    """Make new tokens for requests and for management; those before are refused from then on."""
    from calvaria.server.server import Server

    server = Server(folder)
    server.management.renew("inference")
    server.management.renew("management")
    typer.echo(f"{server.key_file} holds new tokens, which last as long as a start's.")


@app.command()
def demo(
    volume: Annotated[Path | None, typer.Option(help="A defective skull: .nrrd, .nii or .nii.gz; default: a generated one.")] = None,
    truth: Annotated[Path | None, typer.Option(help="The true implant, or the whole skull, to score against.")] = None,
    cut: Annotated[int | None, typer.Option(min=0, help="Take the volume for a whole skull; cut the defect of this seed into it.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the answers and the picture.")] = Path("out"),
    folder: ServerFolder = Path(),
) -> None:
    """Complete one skull through a TorchServe that is started for it, by HTTP and gRPC; without a volume, the other tasks as well."""
    from calvaria.demo import demonstrate

    demonstrate(folder, out, volume, truth, cut)


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help=f"What to score: {TASKS}.")] = "completion",
    whole: Annotated[Path | None, typer.Option(help="Whole skull, or organ, or folder of them, to make cases of.")] = None,
    cases_from: Annotated[Path | None, typer.Option(help="Folder of defective skulls, or rough masks, with their truths.")] = None,
    intact: Annotated[bool, typer.Option("--intact", help="Leave skulls and organs as they are, and see what is changed.")] = False,
    cases: Annotated[int | None, typer.Option(min=1, help="How many seeds, of each head; default: 20, or all pairs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first; the next ones count up.")] = 0,
    kinds: Annotated[
        str | None,
        typer.Option(help="With commas: defects that take turns, grids such as 64-128; organs such as heart, drawn or network, scan."),
    ] = None,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.2, help="For completion: voxel size of generated skulls, about: each has its own. Default: 1.0.")
    ] = None,
    working: Annotated[bool, typer.Option("--working", help="For completion: score on the model's working grid.")] = False,
    baselines: Annotated[bool, typer.Option(help="Also score plain ways to do the task.")] = True,
    pictures: Annotated[bool, typer.Option(help="Draw every case, and all on one sheet.")] = True,
    out: Annotated[Path, typer.Option(help="CSV file with a row per case and method; an existing one is continued.")] = Path(
        "out/evaluation.csv"
    ),
    models: Models = None,
    device: Device = "cpu",
    engine: Engine = "auto",
) -> None:
    """Score a task, beside plain baselines; exit status 1 where a case failed."""
    from calvaria.commands.evaluate import Wanted, evaluate

    wanted = Wanted(whole, cases_from, intact, cases, seed, spacing_mm, kinds, working)
    failures = evaluate(task, wanted, out, models, device, engine, baselines=baselines, pictures=pictures)
    if failures:
        typer.echo(f"{failures} rows of {out} have an error.", err=True)
        raise typer.Exit(1)


@bench.command("engines")
def bench_engines(
    volume: Annotated[str, typer.Option(help="A file, or skull:512, shell:128, noise:0.05:128, one:64 or full:32.")] = "skull:256",
    channels: Annotated[str, typer.Option(help="ch1 or ch2.")] = "ch1",
    engines: Annotated[str | None, typer.Option(help="With commas; ratios are to the first measured; default: all for the device.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Time forward and backward instead of an answer.")] = False,
    repeat: Annotated[int, typer.Option(min=1, help="Runs after those that warm up.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Volumes in a call.")] = 1,
    limit_s: Annotated[float, typer.Option(min=0, help="After this many measured seconds begin no run but an engine's first.")] = 60.0,
    json: Annotated[Path | None, typer.Option(help="File for everything measured and where.")] = None,
    device: Device = "cpu",
) -> None:
    """Run the network on one engine after the other, each in a process of its own: same weights, same kept sites."""
    from calvaria.bench.engines import bench

    bench(volume, channels, engines, device, train, repeat, batch, limit_s, json)


@bench.command("masks")
def bench_masks(
    volume: Annotated[str, typer.Option(help="As for `calvaria bench engines`.")] = "skull:512",
    engine: Annotated[str, typer.Option(help="auto, native or reference.")] = "auto",
    repeat: Annotated[int, typer.Option(min=1, help="Runs after one that warms up.")] = 7,
    json: Annotated[Path | None, typer.Option(help="File for everything measured and where.")] = None,
) -> None:
    """Turn a mask into sites and back, with and without coordinates in between, against copying it."""
    from calvaria.bench.masks import bench

    bench(volume, engine, repeat, json)


def main(commands: typer.Typer | None = None) -> None:
    """Run a command line, by default this one; a refusal, of the system's too, is printed as its sentence and code, with exit status 2.

    Terminated, it still cleans up.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names of files need not be text
    with termination.heeded():
        try:
            with using():
                (commands or app)()
        except CalvariaError as error:
            typer.echo(f"{error.message} [{error.code.value}]", err=True)
            sys.exit(2)


if __name__ == "__main__":
    main()
