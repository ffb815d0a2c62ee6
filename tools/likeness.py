"""Print the measurements of a whole skull beside those of generated skulls of its spacing, and draw them if asked."""

from argparse import ArgumentParser
from itertools import chain, islice
from pathlib import Path

from rich.console import Console
from rich.progress import track

from calvaria.datasets.likeness import likeness, table
from calvaria.datasets.likeness_picture import sheet
from calvaria.datasets.reading import read_logged
from calvaria.errors import CalvariaError
from calvaria.geometry import to_canonical
from calvaria.synthetic import make_skull, mould, symmetrise
from calvaria.synthetic.seeds import EVALUATION
from calvaria.volume import BinaryVolume

WIDTH = 120
"""Width of the table where no terminal says how wide it is."""
DRAWN = 5
"""Generated skulls in a picture at most."""


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("file", help="a whole skull: .nrrd, .nii or .nii.gz")
    parser.add_argument("--skulls", type=int, default=20, help="how many to generate")
    parser.add_argument("--seed", type=int, default=EVALUATION[0], help="of the first of them")
    parser.add_argument("--changed", action="store_true", help="as training changes many of them: both sides alike, then moulded")
    parser.add_argument("--picture", type=Path, help=f"a .png to draw the skull in, above the first {DRAWN} generated ones")
    words = parser.parse_args()
    if words.picture and words.picture.suffix.lower() != ".png":
        parser.error("--picture must end in .png")
    try:
        given = read_logged(Path(words.file))
    except CalvariaError as error:
        parser.error(error.message)
    if not given.occupied:
        parser.error(f"{words.file} is empty: there is no skull to measure")
    spacing = to_canonical(given).volume.spacing_mm
    seeds = range(words.seed, words.seed + words.skulls)

    def made(seed: int) -> BinaryVolume:
        skull = make_skull(seed, spacing)
        return mould(symmetrise(skull, seed), seed) if words.changed else skull

    skulls = (made(seed) for seed in track(seeds, "Generating"))
    drawn = list(islice(skulls, DRAWN if words.picture else 0))
    rows = likeness(given, chain(drawn, skulls))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH  # or the figures of a log would be cut short
    console.print(table(rows, f"{words.file} beside {words.skulls} generated skulls"))
    if words.picture:
        names = [Path(words.file).name, *(f"generated, seed {seed}" for seed in seeds)]
        sheet(dict(zip(names, [given, *drawn], strict=False))).save(words.picture)


if __name__ == "__main__":
    main()
