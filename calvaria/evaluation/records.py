"""Results on disk as they come: a row per case and method, that a later run with the same arguments goes on from."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calvaria.errors import CalvariaError, ErrorCode

FIXED = "case", "skull", "kind", "method", "exit_code", "error", "seconds"
OK, FAILED, REFUSED = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """What one method made of one case.

    exit_code  0; 2 where the input was refused, 1 where anything else went wrong
    error      "" or the stable code of what went wrong; then there are no figures
    """

    case: str
    skull: str
    kind: str
    method: str
    exit_code: int = OK
    error: str = ""
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)


class Record:
    """A CSV file of rows, and beside it a JSON file of the arguments that made them."""

    def __init__(self, path: Path, figures: tuple[str, ...], arguments: Mapping[str, object]):
        """Open a new record, or one to go on with, without what failed: that is tried again.

        BAD_OPTION where the file is there and other arguments made it.
        """
        self.path = path
        self._columns = (*FIXED, *figures)
        self._figures = figures
        self.rows: list[Row] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".json")
        if path.exists():
            self._check(beside, arguments)
            self.rows = self._read()
        else:
            beside.write_text(json.dumps(arguments, indent=2) + "\n")
            path.write_text(_line(self._columns))

    def add(self, row: Row) -> None:
        """Write a row at once; one write, so that a run that is killed leaves whole rows."""
        figures = (f"{row.figures[name]:.6g}" if name in row.figures else "" for name in self._figures)
        values = (row.case, row.skull, row.kind, row.method, row.exit_code, row.error, f"{row.seconds:.2f}", *figures)
        with self.path.open("a", newline="") as file:
            file.write(_line(values))
        self.rows.append(row)

    @property
    def done(self) -> set[tuple[str, str]]:
        """Case and method of every row."""
        return {(row.case, row.method) for row in self.rows}

    def _check(self, beside: Path, arguments: Mapping[str, object]) -> None:
        known = json.loads(beside.read_text()) if beside.exists() else None
        if known != json.loads(json.dumps(arguments)):
            message = f"{self.path} holds results of other arguments, weights or version. Choose another --out, or delete it to begin anew."
            raise CalvariaError(ErrorCode.BAD_OPTION, message)

    def _read(self) -> list[Row]:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]  # the last run may have been stopped within a row
        reader = csv.DictReader(io.StringIO(whole))
        if tuple(reader.fieldnames or ()) != self._columns:
            raise CalvariaError(ErrorCode.BAD_OPTION, f"{self.path} has other columns than this version writes. Choose another --out.")
        kept = [values for values in reader if not values["error"]]
        gone_on_with = _line(self._columns) + "".join(_line(tuple(values.values())) for values in kept)
        if gone_on_with != text:
            unfinished = self.path.with_suffix(".part")
            unfinished.write_text(gone_on_with)
            unfinished.replace(self.path)
        return [self._row(values) for values in kept]

    def _row(self, values: Mapping[str, str]) -> Row:
        figures = {name: float(values[name]) for name in self._figures if values[name]}
        case, skull, kind, method, exit_code, error, seconds = (values[name] for name in FIXED)
        return Row(case, skull, kind, method, int(exit_code), error, float(seconds), figures)


def _line(values: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
