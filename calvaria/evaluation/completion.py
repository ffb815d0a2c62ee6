"""How completion is scored: on skulls with a defect by the implant that was made, on intact ones by whether one was."""

from collections.abc import Mapping

from calvaria.evaluation import cases
from calvaria.evaluation.baselines import BASELINES, Baseline
from calvaria.evaluation.defects import KINDS
from calvaria.evaluation.implants import score
from calvaria.evaluation.scoring import Assessment, Case, Figure, Method, Outputs, Scoring, Test
from calvaria.evaluation.sheet import implant_strip
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

LEAST_CM3 = 0.05
"""What an implant must have to count as one: no film of a few voxels."""


def _completing(baseline: Baseline) -> Method:
    def method(defective: BinaryVolume, extras: Extras = Extras()) -> Outputs:
        implant = baseline(defective)
        return {"completed": defective.like(defective.mask | implant.mask), "implant": implant}

    return method


def _scores(case: Case, outputs: Outputs) -> dict[str, float]:
    scores = score(outputs, case.truth, case.given)
    return scores | {"no_implant": float(scores["implant_cm3"] == 0)}


def _made_any(case: Case, outputs: Outputs) -> dict[str, float]:
    volume_cm3 = outputs["implant"].occupied * outputs["implant"].voxel_mm3 / 1000
    return {"implant": float(volume_cm3 >= LEAST_CM3), "implant_cm3": volume_cm3}


METHODS: Mapping[str, Method] = {name: _completing(baseline) for name, baseline in BASELINES.items()}

DEFECTS = Scoring(
    (
        Figure("implant_dice", "DSC", better="more"),
        Figure("border_dice", "border DSC"),
        Figure("hd95_mm", "HD95 mm", "median", 2),
        Figure("nsd_1mm", "NSD 1 mm"),
        Figure("precision", "precision"),
        Figure("recall", "recall"),
        Figure("no_implant", "none", "count"),
        Figure("border_voxels_dice"),
        Figure("implant_cm3"),
        Figure("skull_dice", "skull DSC", digits=4),
        Figure("skull_border_dice"),
        Figure("skull_border_voxels_dice"),
        Figure("skull_hd95_mm"),
        Figure("skull_nsd_1mm"),
        Figure("skull_precision"),
        Figure("skull_recall"),
        Figure("error_percent", "error %"),
    ),
    _scores,
    METHODS,
    implant_strip,
)

INTACT = Scoring((Figure("implant", "an implant", "count"), Figure("implant_cm3", "cm³")), _made_any, METHODS, implant_strip)

COMPLETION = Assessment(
    "completion",
    "Generated skulls that no training saw",
    KINDS,
    Test("defects", DEFECTS, cases.generated, cases.cuts_of, cases.from_folder, spaced=True, coarsened=cases.coarsened),
    Test("intact", INTACT, cases.intact, cases.intact_skull, spaced=True, coarsened=cases.coarsened),
)
