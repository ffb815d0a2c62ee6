"""What a run leaves behind: a file of JSON lines, first how it was run, then one for each request and each look at the server."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from calvaria.errors import bad_option
from calvaria.files import check_writable, reading, writing


@dataclass(frozen=True)
class Run:
    """How a run was made. All times of a recording are seconds since its start, by a clock that is never set.

    plan     the settings of the run, by name
    machine  what the load was generated on, and when
    """

    plan: Mapping[str, Any]
    machine: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One request and what became of it.

    scheduled_s  when it was due; in a closed loop, when its client was free to send it
    sent_s       when it was handed to the transport
    done_s       when all of its answer was there, or it was given up
    status       HTTP's number or gRPC's name; the error's name where there was no answer at all
    code         "ok" or the ErrorCode of the refusal
    expected     the codes that are right for this request
    stages_s     the server's own times by stage, where it sends them
    answer       fingerprint of the answer's volume, where answers are compared
    """

    number: int
    ingredient: str
    variant: int
    transport: str
    scheduled_s: float
    sent_s: float
    done_s: float
    status: str
    code: str
    expected: tuple[str, ...]
    bytes_sent: int
    bytes_received: int
    stages_s: Mapping[str, float] = field(default_factory=dict)
    answer: str = ""

    @property
    def latency_s(self) -> float:
        """From the scheduled time, so that waiting behind a server that stalls counts."""
        return self.done_s - self.scheduled_s

    @property
    def lateness_s(self) -> float:
        """By how much the generator itself was late."""
        return self.sent_s - self.scheduled_s

    @property
    def as_expected(self) -> bool:
        return self.code in self.expected


@dataclass(frozen=True)
class Sample:
    """The server at one moment.

    metrics       sums over all labels, by name; empty where the metrics address did not answer
    worker_bytes  resident memory by process id
    """

    at_s: float
    metrics: Mapping[str, float]
    worker_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """One distinct answer against the local prediction. `problem` is empty if they are equal, voxel by voxel."""

    ingredient: str
    variant: int
    answer: str
    problem: str


@dataclass(frozen=True)
class End:
    """Every request is answered or given up. Without this line a recording was cut short."""

    at_s: float
    requests: int


Entry = Run | Request | Sample | Verdict | End
KINDS: dict[str, type[Entry]] = {kind.__name__.lower(): kind for kind in (Run, Request, Sample, Verdict, End)}


@dataclass
class Recording:
    """A file of entries, read. `end` is None if the run was cut short."""

    run: Run
    requests: list[Request] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    end: End | None = None

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """CalvariaError BAD_OPTION where a file is none; a last line that was being written when the run died is left out."""
        with reading(path):
            lines = path.read_text(errors="replace").split("\n")
        entries = [_parse(path, number, line) for number, line in enumerate(lines[:-1], 1)]
        if not entries or not isinstance(entries[0], Run):
            raise bad_option(f"{path} does not begin with a run. Name a file that `loadtest run` wrote.")
        recording = cls(entries[0])
        for entry in entries[1:]:
            recording._take(entry)
        return recording

    def _take(self, entry: Entry) -> None:
        match entry:
            case Request():
                self.requests.append(entry)
            case Sample():
                self.samples.append(entry)
            case Verdict():
                self.verdicts.append(entry)
            case End():
                self.end = entry
            case Run():
                raise bad_option("The recording holds two runs. Report on each of them by itself.")


class Writer:
    """Writes a recording, entry by entry. As a context manager it is closed at the end."""

    def __init__(self, path: Path, run: Run):
        """CalvariaError BAD_OPTION where the file cannot be written, here and later, as on a disk that is full."""
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w")
        self.write(run)

    def write(self, entry: Entry) -> None:
        with writing(self._path):
            self._file.write(json.dumps({type(entry).__name__.lower(): asdict(entry)}) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with writing(self._path):
            self._file.close()


def check_recording(path: Path) -> None:
    """CalvariaError BAD_OPTION, before anything is begun, where a recording or its report could not be written; one that is there stays."""
    check_writable(path)
    reports_of(path)


def reports_of(path: Path) -> tuple[Path, Path]:
    """Where a recording's report is written, beside it: JSON and a page. CalvariaError BAD_OPTION where one would take its place."""
    beside = path.with_suffix(".json"), path.with_suffix(".html")
    if path in beside:
        raise bad_option(f"The report on {path} would be written over it: call the recording {path.with_suffix('.jsonl')}.")
    return beside


def _parse(path: Path, number: int, line: str) -> Entry:
    try:
        ((kind, fields),) = json.loads(line).items()
        if "expected" in fields:
            fields["expected"] = tuple(fields["expected"])
        return KINDS[kind](**fields)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise bad_option(f"{path}, line {number}, is no entry of a recording: {error}") from error
