"""`calvaria predict`: one file answered without a server, as a server would."""

from pathlib import Path

import typer

from calvaria.client.local import LocalClient
from calvaria.console import warn
from calvaria.errors import bad_option
from calvaria.files import check_folder, write_file
from calvaria.io import format_of
from calvaria.predictor import Predictor
from calvaria.serving.options import Options
from calvaria.serving.report import Report
from calvaria.serving.service import Model
from calvaria.weights import model_folder, weights_sha256

ZIP = ".zip"


def answer_file(
    task: str, volume: Path, out: Path, models: Path | None, device: str, engine: str, image: Path | None = None, **options: object
) -> Report:
    """Write the answer for a file to `out`: one output in the format that its suffix names, or a ZIP with a report.

    `image`: the scan that the mask was drawn in. `options`: see Options; what stands in the way of writing the answer is refused
    before any work is done.
    """
    check_folder(out)
    asked = Options(**{**options, "report": True, "format": _format(out, options)})  # type: ignore[typeddict-item]
    folder = model_folder(task, models)
    client = LocalClient(Predictor.load(folder, device=device, engine=engine), Model("", weights_sha256(folder)))
    answer = client.request(task, volume, image=image, **asked)
    assert answer.report is not None
    assert answer.files is not None
    write_file(out, answer.body if out.suffix.lower() == ZIP else answer.files[next(iter(answer.report.files.values()))])
    warn(volume, tuple(notice.message for notice in answer.report.warnings))
    for output, occupied in answer.report.occupied_out.items():
        typer.echo(f"{out}: {output}, {occupied} voxels, {answer.report.volume_mm3[output] / 1000:.1f} cm³")
    return answer.report


def write_report(path: Path, report: Report) -> None:
    write_file(path, report.to_json())


def _format(out: Path, options: dict[str, object]) -> object:
    """The format of the files: in a ZIP the one asked for."""
    if out.suffix.lower() == ZIP:
        return options.get("format")
    if "," in str(options.get("output") or ""):
        raise bad_option(f"Several outputs go into one ZIP, and {out} is none; end the name in {ZIP}.")
    if options.get("format"):
        raise bad_option(f"The suffix of {out} chooses the format; --format is for the files of a ZIP.")
    return format_of(out)
