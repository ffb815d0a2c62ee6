"""What `calvaria evaluate` does."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import calvaria
from calvaria.commands.words import names
from calvaria.console import read_volume
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation import cases
from calvaria.evaluation.completion import DEFECTS, INTACT
from calvaria.evaluation.defects import AUTOIMPLANT_KINDS, TEST_KINDS
from calvaria.evaluation.evaluate import Evaluation, model
from calvaria.evaluation.records import Record
from calvaria.evaluation.scoring import Planned
from calvaria.predictor import Predictor
from calvaria.weights import model_folder, weights_sha256

DEFAULT_CASES = 20


@dataclass(frozen=True)
class Wanted:
    """Which cases: cut into `whole`, from a folder, or generated; `count` None means 20, or all of a folder."""

    whole: Path | None
    folder: Path | None
    intact: bool
    count: int | None
    seed: int
    spacing_mm: float
    kinds: str | None

    def planned(self) -> list[Planned]:
        """The cases; BAD_OPTION for options that do not go together."""
        kinds = self._kinds()
        if self.folder:
            self._refuse_beside_folder()
            return cases.from_folder(self.folder)[: self.count]
        seeds = range(self.seed, self.seed + (self.count or DEFAULT_CASES))
        if self.whole:
            skull, name = read_volume(self.whole), self.whole.name
            return cases.intact_skull(skull, name) if self.intact else cases.cuts_of(skull, seeds, name, kinds or TEST_KINDS)
        return cases.intact(seeds, self.spacing_mm) if self.intact else cases.generated(seeds, self.spacing_mm, kinds or AUTOIMPLANT_KINDS)

    def title(self, count: int) -> str:
        skulls = self.whole.name if self.whole else str(self.folder) if self.folder else "Generated skulls that no training saw"
        return f"{skulls}: {count} intact" if self.intact else f"{skulls}: {count} defects"

    def _kinds(self) -> tuple[str, ...]:
        wanted = names(self.kinds or "")
        if unknown := [kind for kind in wanted if kind not in TEST_KINDS]:
            raise CalvariaError(ErrorCode.BAD_OPTION, f"There is no kind of defect {unknown[0]!r}. Choose of: {', '.join(TEST_KINDS)}.")
        return wanted

    def _refuse_beside_folder(self) -> None:
        if self.whole or self.intact or self.kinds:
            raise CalvariaError(ErrorCode.BAD_OPTION, "--cases-from brings its own defects: leave out --whole, --intact and --kinds.")


def evaluate(
    wanted: Wanted, out: Path, models: Path | None, device: str, engine: str, *, working: bool, baselines: bool, pictures: bool
) -> int:
    """Score completion; see the options of the command. Returns how many rows of the CSV file have an error."""
    folder = model_folder("completion", models)
    predictor = Predictor.load(folder, device=device, engine=engine)
    planned = wanted.planned()
    if working:
        planned = [cases.coarsened(case, predictor.settings.spacing_mm) for case in planned]
    scoring = INTACT if wanted.intact else DEFECTS
    arguments = {
        "version": calvaria.__version__,
        "weights": weights_sha256(folder),
        "device": device,
        "engine": predictor.engine,
        "cases": [case.name for case in planned],
        "from": str(wanted.whole or wanted.folder or f"generated, about {wanted.spacing_mm:g} mm"),
        "working": working,
    }
    record = Record(out, tuple(figure.name for figure in scoring.figures), arguments)
    compared = model(predictor) | (dict(scoring.baselines) if baselines else {})
    title = wanted.title(len(planned)) + (", on the working grid" if working else "")
    return Evaluation(scoring, compared, record, pictures).report(planned, title, Console())
