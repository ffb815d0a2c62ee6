"""Commands on the users' own data: bone from CT, data sets from folders, and what they hold."""

from pathlib import Path
from typing import Annotated

import typer

from calvaria.commands.words import numbers
from calvaria.errors import CalvariaError

app = typer.Typer()

Hu = Annotated[float, typer.Option(help="Bone is what reaches this many Hounsfield units.")]
Offset = Annotated[float, typer.Option(help="What must be added to the samples to make them Hounsfield units; often -1024.")]
Rule = Annotated[str, typer.Option(help="How volumes are resampled: nearest, share (more than half) or any.")]


@app.command()
def threshold(
    ct: Annotated[Path, typer.Argument(help="A CT volume in Hounsfield units: .nrrd, .nii or .nii.gz.")],
    out: Annotated[Path, typer.Option(help="Where the mask goes; its suffix chooses the format.")],
    hu: Hu = 300.0,
    offset: Offset = 0.0,
) -> None:
    """Make a bone mask from a CT volume: the largest component at or above a threshold."""
    from calvaria.console import size, warn
    from calvaria.files import check_apart, check_folder
    from calvaria.io import format_of, read_image, write
    from calvaria.threshold import threshold

    format_of(out)
    check_folder(out)
    check_apart([ct], [out])
    image = read_image(ct)
    warn(ct, image.warnings)
    bone = threshold(image, hu, offset)
    write(out, bone)
    typer.echo(f"{out}: {size(bone)}")


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="Folder with CT volumes, masks and meshes, in any layout.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set; one that was begun is continued.")],
    hu: Hu = 300.0,
    offset: Offset = 0.0,
    label: Annotated[int | None, typer.Option(min=1, help="Take this label of maps of up to 256; default: anything above zero.")] = None,
    resolutions: Annotated[
        str | None, typer.Option(help="Voxels across an axial slice, with commas, such as 64,128,256,512; default: the volumes' own.")
    ] = None,
    rule: Rule = "nearest",
    meshes: Annotated[str, typer.Option(help="Meshes become this many voxels cubed, with commas.")] = "30,60,90,120",
    shell: Annotated[bool, typer.Option("--shell", help="Of meshes, the voxels they pass through, not those they enclose.")] = False,
) -> None:
    """Convert CT, masks and meshes into a data set of masks with an index.

    A file that cannot be converted is a row with its error, and exit status 1; the others are made.
    """
    from dataclasses import asdict

    from calvaria.commands.progress import finish, shown
    from calvaria.datasets.index import DataSet
    from calvaria.datasets.prepare import Recipe, plan
    from calvaria.datasets.prepare import prepare as convert

    wanted = numbers(resolutions, "--resolutions") if resolutions else ()
    recipe = Recipe(hu, offset, label, wanted, rule, numbers(meshes, "--meshes"), shell)
    jobs = plan(folder, out, recipe)
    planned = (name for job in jobs for name in job.outputs.values())
    made = DataSet(out, asdict(recipe) | {"folder": str(folder.resolve())}, planned)
    shown(convert(folder, made, jobs, recipe), len(jobs), "Converting")
    finish(made)


@app.command()
def stats(
    paths: Annotated[list[Path], typer.Argument(help="Masks, meshes, and folders of them.")],
    resolutions: Annotated[
        str, typer.Option(help="Voxels across an axial slice, with commas; a volume's own is added.")
    ] = "64,128,256,512",
    rule: Rule = "nearest",
    csv: Annotated[Path | None, typer.Option(help="File with a row for each volume and resolution.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for everything.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File for the figure: .png, .svg or .pdf.")] = None,
) -> None:
    """Count all voxels and occupied voxels by resolution, and a network's sites by stride."""
    from rich.console import Console

    from calvaria.commands.progress import shown
    from calvaria.datasets import plot as figure
    from calvaria.datasets import stats as counting
    from calvaria.datasets.series import check_rule
    from calvaria.files import check_apart, check_suffix, check_writable

    check_rule(rule)
    wanted, files = numbers(resolutions, "--resolutions"), counting.files_of(paths)
    if plot:
        figure.check(plot)
    check_suffix(csv, ".csv")
    check_suffix(json, ".json")
    check_apart(files, [csv, json, plot])
    for path in filter(None, (csv, json, plot)):
        check_writable(path)
    refused: list[CalvariaError] = []

    def measured(file: Path) -> counting.Statistics | None:
        try:
            return counting.measure(file, wanted, rule)
        except CalvariaError as error:
            typer.echo(f"{file}: {error.message} [{error.code.value}]", err=True)
            refused.append(error)
            return None

    found = [each for each in shown(map(measured, files), len(files), "Counting") if each]
    if found:
        for table in counting.tables(found, rule):
            Console().print(table)
        typer.echo(counting.sentence(found, rule))
        if csv:
            counting.write_csv(csv, found)
        if json:
            counting.write_json(json, found, rule)
        if plot:
            figure.plot(plot, found, f"Volumes: {len(found)}; {rule}")
    if refused:
        raise typer.Exit(1)
