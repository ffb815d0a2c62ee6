"""Results on disk as they come: a row per case and method, that a later run with the same arguments goes on from."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calvaria.errors import bad_option
from calvaria.files import write_file, writing

FIXED = "case", "skull", "kind", "method", "exit_code", "error", "message", "seconds"
OK, FAILED, REFUSED = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """What one method made of one case.

    exit_code  0; 2 where the input was refused, 1 where anything else went wrong
    error      "" or the stable code of what went wrong; then there are no figures
    message    the same as a sentence
    """

    case: str
    skull: str
    kind: str
    method: str
    exit_code: int = OK
    error: str = ""
    message: str = ""
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)


class Record:
    """A CSV file of rows, and beside it a JSON file of the arguments that made them, and of what each case was made of."""

    def __init__(self, path: Path, figures: tuple[str, ...], arguments: Mapping[str, object], cases: Mapping[str, str] | None = None):
        """Open a new record, or one to go on with, without what failed and what is made of other files now: that is tried again.

        `cases`: what each is made of, by name; more may come. BAD_OPTION for a path that is no CSV file's, and where the file was made
        with other arguments, holds cases that are not among these, or is damaged.
        """
        if path.is_dir() or path.suffix != ".csv":
            raise bad_option(f"--out must name a file that ends in .csv, unlike {path}.")
        self.path = path
        self._columns = (*FIXED, *figures)
        self._figures = figures
        self.rows: list[Row] = []
        beside, cases = path.with_suffix(".json"), dict(cases or {})
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                held = self._check(beside, arguments)
                self.rows = self._read(held, cases)
            elif theirs := _not_ours(path):
                raise bad_option(f"{theirs} is no evaluation's, and would be overwritten. Choose another --out.")
        write_file(beside, (json.dumps({**arguments, "cases": cases}, indent=2) + "\n").encode())
        if not path.exists():
            write_file(path, _line(self._columns).encode())

    def add(self, row: Row) -> None:
        """Write a row at once; one write, so that a run that is killed leaves whole rows."""
        figures = (f"{row.figures[name]:.6g}" if name in row.figures else "" for name in self._figures)
        values = (row.case, row.skull, row.kind, row.method, row.exit_code, row.error, row.message, f"{row.seconds:.2f}", *figures)
        with writing(self.path), self.path.open("a", newline="", errors="surrogateescape") as file:
            file.write(_line(values))
        self.rows.append(row)

    @property
    def done(self) -> set[tuple[str, str]]:
        """Case and method of every row."""
        return {(row.case, row.method) for row in self.rows}

    def _check(self, beside: Path, arguments: Mapping[str, object]) -> dict[str, str]:
        """The cases that it holds, and what they were made of."""
        try:
            known = json.loads(beside.read_text()) if beside.exists() else {}
            held = dict(known.pop("cases", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise bad_option(f"{beside} is damaged ({error}). Choose another --out.") from error
        if known != json.loads(json.dumps(arguments)):
            message = f"{self.path} holds results of other arguments, weights or version. Choose another --out, or delete it to begin anew."
            raise bad_option(message)
        return held

    def _read(self, held: Mapping[str, str], cases: Mapping[str, str]) -> list[Row]:
        """Its rows but those that failed and those of cases that are made of something else now; the file is left with these alone."""
        text = self.path.read_text(errors="surrogateescape")
        whole = text[: text.rfind("\n") + 1]  # the last run may have been stopped within a row
        reader = csv.DictReader(io.StringIO(whole))
        if tuple(reader.fieldnames or ()) != self._columns:
            raise bad_option(f"{self.path} has other columns than this version writes. Choose another --out.")
        done = [values for values in reader if not values["error"]]
        if others := [values["case"] for values in done if values["case"] in held and values["case"] not in cases]:
            message = f"{self.path} holds results of cases that are not among those asked for, such as {others[0]}."
            raise bad_option(f"{message} Ask for them, too, or choose another --out.")
        once = {(values["case"], values["method"]): values for values in done}  # of two runs that wrote at the same time
        kept = [values for values in once.values() if held.get(values["case"]) == cases.get(values["case"])]
        gone_on_with = _line(self._columns) + "".join(_line(tuple(values.values())) for values in kept)
        if gone_on_with != text:
            write_file(self.path, gone_on_with.encode(errors="surrogateescape"))
        try:
            return [self._row(values) for values in kept]
        except (ValueError, TypeError) as error:
            raise bad_option(f"{self.path} is damaged ({error}). Choose another --out.") from error

    def _row(self, values: Mapping[str, str]) -> Row:
        figures = {name: float(values[name]) for name in self._figures if values[name]}
        case, skull, kind, method, exit_code, error, message, seconds = (values[name] for name in FIXED)
        return Row(case, skull, kind, method, int(exit_code), error, message, float(seconds), figures)


def _not_ours(path: Path) -> Path | None:
    """A file beside an absent CSV file that a run would overwrite and none has written; a JSON file of cases says whose the others are."""
    beside = path.with_suffix(".json")
    if beside.exists():
        return None if _is_ours(beside) else beside
    return next((other for other in map(path.with_suffix, (".txt", ".png")) if other.exists()), None)


def _is_ours(beside: Path) -> bool:
    """Whether a JSON file is one of arguments and cases, such as is left where its CSV file was deleted."""
    try:
        return "cases" in json.loads(beside.read_text())
    except (ValueError, TypeError):
        return False


def _line(values: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
