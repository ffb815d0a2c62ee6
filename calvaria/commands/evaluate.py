"""What `calvaria evaluate` does."""

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from rich.console import Console

import calvaria
from calvaria.commands.words import names
from calvaria.console import read_volume
from calvaria.datasets import fingerprint
from calvaria.errors import bad_option
from calvaria.evaluation.assessments import ASSESSMENTS
from calvaria.evaluation.evaluate import Evaluation, model
from calvaria.evaluation.records import Record
from calvaria.evaluation.scoring import DRAWN_AS, Assessment, Drawn, Planned, Test
from calvaria.evaluation.wholes import UNREADABLE, of_wholes
from calvaria.predictor import Predictor
from calvaria.weights import model_folder, weights_sha256

DEFAULT_CASES = 20
DEFAULT_SPACING_MM = 1.0


@dataclass(frozen=True)
class Wanted:
    """Which cases: made of `whole`, a file or a folder of them, pairs of a folder, or generated; `count` None means 20, or all pairs."""

    whole: Path | None
    folder: Path | None
    intact: bool
    count: int | None
    seed: int
    spacing_mm: float | None
    kinds: str | None
    working: bool

    def test(self, assessment: Assessment) -> Test:
        """Which test of a task; BAD_OPTION for options that it has no use for, or that do not go together."""
        test = assessment.intact if self.intact else assessment.usual
        if test is None:
            raise bad_option(f"{assessment.task} has no test with nothing to change: leave out --intact.")
        if self.folder and not assessment.usual.of_folder:
            raise bad_option(f"{assessment.task} cannot be scored on pairs: name whole skulls, a file or a folder, with --whole.")
        if self.folder and (self.whole or self.intact or self.kinds):
            raise bad_option("--cases-from brings its own cases: leave out --whole, --intact and --kinds.")
        if self.folder and self.seed:
            raise bad_option("--cases-from takes cases as they come: leave out --seed, and choose how many with --cases.")
        if self.spacing_mm and (self.whole or self.folder):
            raise bad_option("Files have voxels of their own: leave out --spacing-mm.")
        if self.spacing_mm and not test.spaced:
            raise bad_option(f"The voxels of cases of {assessment.task} are part of the test: leave out --spacing-mm.")
        if self.working and not test.coarsened:
            raise bad_option(f"Answers of {assessment.task} are scored on their own grid: leave out --working.")
        return test

    def planned(self, assessment: Assessment) -> list[Planned]:
        """The cases. Errors as of `test`, and BAD_OPTION for a kind that is not there."""
        test = self.test(assessment)
        seeds = range(self.seed, self.seed + (self.count or DEFAULT_CASES))
        drawn = Drawn(seeds, self._kinds(assessment), self.spacing_mm or DEFAULT_SPACING_MM)
        if self.folder and test.of_folder:
            return in_turn(test.of_folder(self.folder))[: self.count]
        return of_wholes(self.whole, test.of_whole, drawn, read_volume) if self.whole else test.generated(drawn)

    def origin(self, test: Test) -> str:
        """Where the cases come from, for the record."""
        voxels = f", about {self.spacing_mm or DEFAULT_SPACING_MM:g} mm" if test.spaced else ""
        return str(self.whole or self.folder or f"generated{voxels}")

    def made_of(self, assessment: Assessment) -> object:
        """What all cases depend on beside their names: the size and time of a whole volume's file, the generator's version.

        Cases from a folder know their own files.
        """
        return fingerprint([self.whole]) if self.whole and not self.whole.is_dir() else assessment.generator()

    def title(self, assessment: Assessment, count: int) -> str:
        of = self.whole.resolve().name if self.whole else str(self.folder) if self.folder else assessment.subject
        return f"{of}: {count} {self.test(assessment).noun}"

    def _kinds(self, assessment: Assessment) -> tuple[str, ...]:
        wanted = names(self.kinds or "")
        if unknown := [kind for kind in wanted if kind not in assessment.kinds]:
            raise bad_option(f"{assessment.task} has no kind of case {unknown[0]!r}. Choose of: {', '.join(assessment.kinds)}.")
        return wanted


def in_turn(cases: list[Planned]) -> list[Planned]:
    """Cases of all kinds by turns, so that the first few are not of one kind alone."""
    met: Counter[str] = Counter()
    turns = []
    for case in cases:
        met[case.kind] += 1
        turns.append(met[case.kind])
    return [case for _, case in sorted(zip(turns, cases, strict=True), key=itemgetter(0))]


def evaluate(
    task: str, wanted: Wanted, out: Path, models: Path | None, device: str, engine: str, *, baselines: bool, pictures: bool
) -> int:
    """Score a task; see the options of the command. Returns how many rows of the CSV file have an error."""
    folder = model_folder(task, models)
    if task not in ASSESSMENTS:
        raise bad_option(f"{task} cannot be scored: it has no row in calvaria/evaluation/assessments.py.")
    assessment = ASSESSMENTS[task]
    test = wanted.test(assessment)
    predictor = Predictor.load(folder, device=device, engine=engine)
    if wanted.working and not predictor.settings.spacing_mm:
        raise bad_option("These weights have cells as wide as a volume's voxels (spacing_mm = 0): leave out --working.")
    planned = wanted.planned(assessment)
    if not planned:
        raise bad_option("No case is of all the kinds that were asked for. Ask for others, or for fewer at once.")
    if wanted.working and test.coarsened:
        planned = [test.coarsened(case, predictor.settings.spacing_mm) for case in planned]
    arguments = {
        "version": calvaria.__version__,
        "weights": weights_sha256(folder),
        "device": device,
        "engine": predictor.engine,
        "from": wanted.origin(test),
        "made of": wanted.made_of(assessment),
        "drawn as": DRAWN_AS,
        "working": wanted.working,
    }
    made_of = {case.name: fingerprint(case.files) for case in planned}
    record = Record(out, tuple(figure.name for figure in test.scoring.figures), arguments, made_of)
    compared = model(predictor) | (dict(test.scoring.baselines) if baselines else {})
    title = wanted.title(assessment, sum(case.kind != UNREADABLE for case in planned)) + (", on the working grid" if wanted.working else "")
    console = Console(markup=False, emoji=False)  # whatever the names of files look like
    return Evaluation(test.scoring, compared, record, pictures).report(planned, title, console)
