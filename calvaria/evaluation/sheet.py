"""Pictures of cases: a strip for each, and all strips on one sheet."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from calvaria.evaluation.scoring import Case, Outputs
from calvaria.files import write_file
from calvaria.picture import Subject, photograph, viewpoint

TILE = 230, 230
CAPTION_HEIGHT = 24
COLUMNS = 2
BACKGROUND, INK = (28, 31, 36), (220, 224, 228)


def implant_strip(case: Case, outputs: Outputs) -> Image.Image:
    """The defective skull, its true implant and the one that was made, seen from the implant's side."""
    nothing, made = case.given.emptied(), outputs["implant"]
    azimuth, elevation = viewpoint(Subject.of(case.given, case.truth if case.truth.occupied else made))
    return _side_by_side([photograph(Subject.of(case.given, piece), azimuth, elevation, TILE) for piece in (nothing, case.truth, made)])


def mask_strip(case: Case, outputs: Outputs) -> Image.Image:
    """What was given, the truth, and the task's first output."""
    subjects = [Subject.of(volume, volume.emptied()) for volume in (case.given, case.truth, next(iter(outputs.values())))]
    azimuth, elevation = viewpoint(subjects[0])
    return _side_by_side([photograph(subject, azimuth, elevation, TILE) for subject in subjects])


def _side_by_side(views: Sequence[Image.Image]) -> Image.Image:
    strip = Image.new("RGB", (len(views) * TILE[0], TILE[1]), BACKGROUND)
    for place, view in enumerate(views):
        strip.paste(view, (place * TILE[0], 0))
    return strip


def captioned(strip: Image.Image, caption: str) -> Image.Image:
    """A strip with a line of text below it."""
    picture = Image.new("RGB", (strip.width, strip.height + CAPTION_HEIGHT), BACKGROUND)
    picture.paste(strip, (0, 0))
    place = strip.width // 2, strip.height + CAPTION_HEIGHT // 2
    ImageDraw.Draw(picture).text(place, caption, fill=INK, anchor="mm", font=ImageFont.load_default(14))
    return picture


def write_sheet(strips: Sequence[Path], path: Path) -> None:
    """Put strips of one size, in two columns, on one sheet; nothing is written without any. Errors as of `write_file`."""
    if not strips:
        return
    with Image.open(strips[0]) as first:
        width, height = first.size
    rows = -(-len(strips) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), BACKGROUND)
    for place, strip in enumerate(strips):
        with Image.open(strip) as picture:
            sheet.paste(picture, (place % COLUMNS * width, place // COLUMNS * height))
    content = BytesIO()
    sheet.save(content, "PNG")
    write_file(path, content.getvalue())
