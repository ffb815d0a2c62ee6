"""`calvaria synth`: skulls, defects and data sets from a seed."""

from pathlib import Path
from typing import Annotated

import typer

from calvaria.commands.words import millimetres, names

app = typer.Typer(help="Make skulls and defects from a seed.", no_args_is_help=True)

FINEST_MM = 0.2


@app.command("skull")
def skull(
    out: Annotated[Path, typer.Option(help="Where the skull goes; its suffix chooses the format.")],
    seed: Annotated[int, typer.Option(min=0, help="Which head.")] = 1,
    spacing: Annotated[str, typer.Option(help="Voxel size, mm: one number, or along x, y and z, such as 0.5,0.5,1.2.")] = "1",
) -> None:
    """Make a skull as thresholding a head CT would give it."""
    from calvaria.console import size
    from calvaria.files import check_folder
    from calvaria.io import format_of, write
    from calvaria.synthetic import make_skull

    format_of(out)
    check_folder(out)
    skull = make_skull(seed, millimetres(spacing, "--spacing", FINEST_MM))
    write(out, skull)
    typer.echo(f"{out}: {size(skull)}")


@app.command("cut")
def cut(
    volume: Annotated[Path, typer.Argument(help="A whole skull: .nrrd, .nii or .nii.gz.")],
    out: Annotated[Path, typer.Option(help="Where the defective skull goes.")],
    implant: Annotated[Path | None, typer.Option(help="Where the piece that was taken goes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which defect.")] = 1,
    kind: Annotated[str | None, typer.Option(help="Kind of defect; default: the seed chooses.")] = None,
) -> None:
    """Cut a defect into a skull."""
    from calvaria.console import read_volume, size
    from calvaria.files import check_apart, check_folder
    from calvaria.io import format_of, write
    from calvaria.synthetic import cut_defect

    for path in (out, implant) if implant else (out,):
        format_of(path)
        check_folder(path)
    check_apart([volume], [out, implant])
    defect = cut_defect(read_volume(volume), seed, *([] if kind is None else [kind]))
    write(out, defect.defective)
    if implant:
        write(implant, defect.implant)
    typer.echo(f"{out}: {defect.kind}, {size(defect.implant)} taken")


@app.command("dataset")
def dataset(
    out: Annotated[Path, typer.Option(help="Folder of the data set; one that was begun is continued.")],
    count: Annotated[int, typer.Option(min=1, help="How many skulls.")] = 10,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first skull; the next ones count up. Train on none below 1000000: evaluation uses those.")
    ] = 0,
    layout: Annotated[
        str, typer.Option(help="skullbreak, or pairs: a folder for each skull and in it one for each defect.")
    ] = "skullbreak",
    defects: Annotated[
        str | None, typer.Option(help="Kinds, with commas; one named twice is cut twice. Default: SkullBreak's, with two random ones.")
    ] = None,
    spacing: Annotated[str, typer.Option(help="Voxel size, mm: one number, or along x, y and z, such as 0.5,0.5,1.2.")] = "1",
    format: Annotated[str, typer.Option(help="nrrd, nii, nii.gz or, for surfaces, stl.")] = "nrrd",
) -> None:
    """Make whole skulls, defective ones and implants, with an index.

    A defect that does not fit is a row with its error, and exit status 1.
    """
    from calvaria.commands.progress import finish, shown
    from calvaria.datasets.index import DataSet
    from calvaria.datasets.synthesise import SKULLBREAK_DEFECTS, layout_named, names_of, planned, synthesise
    from calvaria.synthetic.seeds import GENERATOR

    spacing_mm = millimetres(spacing, "--spacing", FINEST_MM)
    kinds, chosen = names(defects) if defects else SKULLBREAK_DEFECTS, layout_named(layout, format)
    names_of(kinds)
    settings = {"layout": layout, "defects": list(kinds), "spacing_mm": spacing_mm, "generator": GENERATOR}
    seeds = range(seed, seed + count)
    made = DataSet(out, settings if format == "nrrd" else settings | {"format": format}, planned(chosen, seeds, kinds))
    shown(synthesise(made, chosen, seeds, kinds, spacing_mm), count, "Skulls")
    finish(made)
