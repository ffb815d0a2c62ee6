"""What a service says about an answer: measurements, and what a person should know before using it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class Notice:
    """A warning: a stable code, and a sentence in ASCII with nothing of the client's own words in it."""

    code: str
    message: str


@dataclass(frozen=True)
class ImplantFacts:
    """An implant's volume, and its 26-connected components by volume, largest first: all counted, at most 100 listed."""

    volume_mm3: float
    components: int
    components_mm3: Sequence[float]


@dataclass(frozen=True)
class Report:
    """What `report.json` holds, field by field.

    calvaria      version of the library
    task          what was done, e.g. "completion"
    model         version of the model's archive; empty without one
    weights       SHA-256 of each file of weights, by name
    engine        what computed the network, e.g. "native"
    device        where: "cpu", "cuda:0" and so on
    options       what was asked for, as understood, without options left to their defaults
    shape         voxels of the volume that came in, along each axis of its file
    spacing_mm    their edges
    occupied_in   occupied voxels of the volume that came in
    occupied_out  occupied voxels of each output asked for
    volume_mm3    what they fill
    implant       None where the task makes none
    files         by output, the name of its file in the ZIP
    seconds       by stage; network is that of the call the request shared with its batch
    warnings      see Notice
    """

    calvaria: str
    task: str
    model: str
    weights: Mapping[str, str]
    engine: str
    device: str
    options: Mapping[str, Any]
    shape: Sequence[int]
    spacing_mm: Sequence[float]
    occupied_in: int
    occupied_out: Mapping[str, int]
    volume_mm3: Mapping[str, float]
    implant: ImplantFacts | None
    files: Mapping[str, str]
    seconds: Mapping[str, float]
    warnings: Sequence[Notice] = field(default_factory=tuple)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode("ascii")

    @classmethod
    def from_json(cls, content: bytes) -> "Report":
        """Fields that a later version may have added are left out; ValueError where one of this version is absent."""
        given = json.loads(content)
        try:
            values = {each.name: given[each.name] for each in fields(cls)}
            implant = values["implant"] and ImplantFacts(**values["implant"])
            warnings = tuple(Notice(each["code"], each["message"]) for each in values["warnings"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no report of Calvaria: {error}") from error
        return cls(**{**values, "implant": implant, "warnings": warnings})
