"""From a task's outputs to the body of an answer: one file, or a ZIP of several with a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import calvaria
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode, mesh
from calvaria.predictor import Predictor
from calvaria.serving.findings import implant_facts
from calvaria.serving.journey import Journey
from calvaria.serving.report import REPORT_FILE, Notice, Report
from calvaria.serving.wire import CONTENT_TYPES, ZIP_TYPE, pack
from calvaria.volume import BinaryVolume

Volumes = Mapping[str, BinaryVolume]
"""All of a task's outputs by name."""


@dataclass(frozen=True)
class Model:
    """What a report says of the model: the version of its archive, and the SHA-256 of its weights by file."""

    version: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)


def close(journey: Journey, volumes: Volumes, predictor: Predictor, model: Model) -> None:
    """Give a journey its body. Adds to its stage times and warnings."""
    asked, format = journey.options.output, journey.options.format or journey.decoded.format
    with journey.timed("encode"):
        files = {f"{name}.{format}": _file(journey, volumes[name], format) for name in asked}
    if len(files) == 1 and not journey.options.report:
        (journey.body,), journey.content_type = files.values(), CONTENT_TYPES[format]
        return
    report = _report(journey, volumes, dict(zip(asked, files, strict=True)), predictor, model)
    journey.body, journey.content_type = pack({**files, REPORT_FILE: report.to_json()}), ZIP_TYPE


def check_size(body: bytes, most_mib: float) -> None:
    """TOO_LARGE for an answer of more than `most_mib`."""
    if len(body) > most_mib * 2**20:
        raise CalvariaError(
            ErrorCode.TOO_LARGE,
            f"The answer has {len(body) / 2**20:.0f} MiB, more than the {most_mib:g} MiB that are sent back. "
            "Ask for a compressed format, nrrd or nii.gz, or for one output alone.",
        )


def _file(journey: Journey, volume: BinaryVolume, format: str) -> bytes:
    if format != "stl":
        return encode(volume, format)
    if any(each.part for each in journey.asked):
        journey.warn(Notice("labels-merged", "The surface is that of all labels together: choose one as `label`, or ask for nrrd or nii."))
    surface = mesh.surface(volume)
    if surface.block > 1:
        journey.warn(
            Notice(
                "surface-coarsened",
                f"At full resolution the surface has more than {mesh.MOST_TRIANGLES:,} triangles; it is drawn on blocks of "
                f"{surface.block} x {surface.block} x {surface.block} voxels.",
            )
        )
    return mesh.serialise(surface)


def _report(journey: Journey, volumes: Volumes, files: Mapping[str, str], predictor: Predictor, model: Model) -> Report:
    given, asked = journey.decoded.volume, journey.options.output
    return Report(
        calvaria=calvaria.__version__,
        task=predictor.task.name,
        model=model.version,
        weights=model.weights,
        engine=predictor.engine,
        device=str(predictor.device),
        options=journey.options.given(),
        shape=given.shape,
        spacing_mm=given.spacing_mm,
        occupied_in=given.occupied,
        occupied_out={name: volumes[name].occupied for name in asked},
        volume_mm3={name: volumes[name].occupied * volumes[name].voxel_mm3 for name in asked},
        implant=implant_facts(volumes[predictor.task.pieces]) if predictor.task.pieces else None,
        files=files,
        seconds=journey.seconds,
        warnings=journey.warnings,
    )
