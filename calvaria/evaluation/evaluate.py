"""Score a model and what it is compared with on the same cases, one at a time, unattended."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.progress import track

from calvaria.errors import CalvariaError, error_code
from calvaria.evaluation.records import FAILED, REFUSED, Record, Row
from calvaria.evaluation.scoring import Case, Method, Outputs, Planned, Scoring
from calvaria.evaluation.sheet import captioned, write_sheet
from calvaria.evaluation.tables import by_kind, differences, summary
from calvaria.files import shortened, write_file
from calvaria.predictor import Predictor
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

MODEL = "Calvaria"
WIDTH = 240
"""Characters across tables in files and logs: the widest has eleven columns, with intervals in most."""

log = logging.getLogger(__name__)


class Evaluation:
    """A run over cases: what is compared, how it is scored, and where its rows and pictures go.

    Beside the CSV file lie its arguments (.json), the tables (.txt), the sheet of pictures (.png) and, in the folder
    NAME-pictures, a strip for each case.
    """

    def __init__(self, scoring: Scoring, methods: Mapping[str, Method], record: Record, pictures: bool = True):
        self.scoring = scoring
        self.methods = methods
        self.record = record
        self._strips = record.path.with_name(f"{record.path.stem}-pictures") if pictures and scoring.picture else None

    def run(self, cases: Iterable[Planned]) -> None:
        """Answer and score what the record does not hold yet. An error in one case is a row with its code; the others go on."""
        done = self.record.done
        for planned in cases:
            left = [name for name in self.methods if (planned.name, name) not in done]
            if left:
                self._try(planned, left)

    def report(self, cases: Sequence[Planned], title: str, console: Console) -> int:
        """Run, showing progress; print and write tables and the sheet. Returns how many rows have an error.

        CalvariaError BAD_OPTION where something cannot be written.
        """
        if not console.is_terminal:
            console.width = WIDTH  # or the figures of a log would be cut short
        self.run(track(cases, "Scoring", console=console))
        text = StringIO()
        for out in (console, Console(file=text, width=WIDTH, markup=False, emoji=False)):
            self._tell(out, title)
        write_file(self.record.path.with_suffix(".txt"), text.getvalue().encode(errors="replace"))
        if self._strips:
            answered = {row.case for row in self.record.rows if row.method == MODEL and not row.error}
            strips = [strip for planned in cases if planned.name in answered and (strip := self._strip(planned.name)).exists()]
            write_sheet(strips, self.record.path.with_suffix(".png"))
            if undrawn := len(answered) - len(strips):
                console.print(f"{undrawn} cases have no picture, as they were scored without; choose another --out to draw them.")
        return sum(bool(row.error) for row in self.record.rows)

    def _tell(self, console: Console, title: str) -> None:
        rows, figures = self.record.rows, self.scoring.figures
        kinds = list(dict.fromkeys(row.kind for row in rows))
        tests = {f"{title}, {kind}": [row for row in rows if row.kind == kind] for kind in kinds} if self.scoring.apart else {title: rows}
        for name, of_test in tests.items():
            console.print(summary(of_test, figures, name, self.scoring.subject))
            if (band := self.scoring.band) and (within := band.of(of_test)):
                console.print(summary(within, figures, f"Of these {band.heading}", self.scoring.subject))
            for figure in figures:
                if len({row.kind for row in of_test}) > 1 and figure.better:
                    console.print(by_kind(of_test, figure))
            for sentence in differences(of_test, figures, MODEL):
                console.print(sentence, soft_wrap=True, highlight=False)
        console.print(f"Every case: {self.record.path}", soft_wrap=True, highlight=False)

    def _try(self, planned: Planned, left: Sequence[str]) -> None:
        if self._strips and MODEL in left:
            self._strip(planned.name).unlink(missing_ok=True)  # of other weights
        rows = [Row(planned.name, planned.skull, planned.kind, name) for name in left]
        try:
            case = planned.make()
        except Exception as error:
            for row in rows:
                self.record.add(failed(row, error))
            return
        for row in rows:
            self.record.add(self._answered(row, case))

    def _answered(self, row: Row, case: Case) -> Row:
        try:
            start = time.perf_counter()
            outputs = self.methods[row.method](case.given, case.extras)
            seconds = time.perf_counter() - start
            scored = replace(row, seconds=seconds, figures=self.scoring.score(case, outputs))
        except Exception as error:
            return failed(row, error)
        if row.method == MODEL:
            self._draw(case, outputs, scored)
        return scored

    def _draw(self, case: Case, outputs: Outputs, row: Row) -> None:
        """A picture that cannot be made is none: the answer was scored."""
        if self._strips and self.scoring.picture:
            first = self.scoring.figures[0]
            caption = f"{row.case}: {first.heading} {row.figures[first.name]:.{first.digits}f}"
            try:
                self._strips.mkdir(parents=True, exist_ok=True)
                captioned(self.scoring.picture(case, outputs), caption).save(self._strip(row.case))
            except Exception as error:
                log.warning("no picture of %s: %r", row.case, error)

    def _strip(self, case: str) -> Path:
        """A case's strip: another for each, whatever is in its name."""
        return (self._strips or Path()) / (shortened(quote(case, safe=" ,", errors="surrogateescape")) + ".png")


def model(predictor: Predictor) -> dict[str, Method]:
    """A predictor as one of the methods that are compared."""

    def predict(given: BinaryVolume, extras: Extras) -> Outputs:
        return predictor.predict([given], extras)[0]

    return {MODEL: predict}


def failed(row: Row, error: Exception) -> Row:
    """The row of a case that went wrong: its stable code, and the exit status that a command would have ended with."""
    code = error_code(error).value
    if isinstance(error, CalvariaError):
        log.warning("%s, %s: %s", row.case, row.method, error.message)
        return replace(row, exit_code=REFUSED, error=code, message=error.message)
    log.error("%s, %s", row.case, row.method, exc_info=error)
    return replace(row, exit_code=FAILED, error=code, message=repr(error))
