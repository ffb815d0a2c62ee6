from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from calvaria import showcase
from calvaria.client.codec import Answer
from calvaria.console import Report
from calvaria.evaluation.assessments import ASSESSMENTS
from calvaria.evaluation.metrics import dice
from calvaria.io import decode_image, read
from calvaria.showcase import EXHIBITS, show
from calvaria.tasks import TASKS, Extras


def test_every_task_beside_completion_has_an_exhibit() -> None:
    assert {"completion", *EXHIBITS} == set(TASKS)
    for task, exhibit in EXHIBITS.items():
        assert exhibit.baseline in ASSESSMENTS[task].usual.scoring.baselines
        assert set(exhibit.kinds) <= set(ASSESSMENTS[task].kinds)


def test_an_exhibit_leaves_what_was_given_the_answer_a_picture_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a server that knows the truth."""
    case = EXHIBITS["refinement"].planned("refinement").make()
    asked: list[tuple[str, bytes]] = []

    def both_ways(server, model, body, outputs, report, scan, extras):
        asked.append((model, scan))
        np.testing.assert_array_equal(extras.image, case.extras.image)
        return {outputs[0]: case.truth}

    monkeypatch.setattr(showcase, "both_ways", both_ways)
    show("refinement", None, tmp_path, Report(Console()))  # type: ignore[arg-type]
    ((model, scan),) = asked
    assert model == "refinement"
    image = decode_image(scan)
    np.testing.assert_allclose(image.samples, case.extras.image, atol=0.5)
    np.testing.assert_array_equal(image.affine, case.given.affine)
    assert (tmp_path / "refinement-scan.nrrd").read_bytes() == scan
    given, refined = (read(tmp_path / f"refinement-{name}.nrrd").volume for name in ("given", "refined"))
    assert given.same_grid(refined)
    np.testing.assert_array_equal(given.mask, case.given.mask)
    assert dice(refined.mask, case.truth.mask) == 1
    assert (tmp_path / "refinement.png").read_bytes().startswith(b"\x89PNG")
    assert "1.000" in capsys.readouterr().out


def test_what_a_case_asks_for_is_asked_of_the_server() -> None:
    asked = []

    class Server:
        def request(self, model: str, body: bytes, **options: object) -> Answer:
            asked.append((model, options["factor"], options["spacing_mm"]))
            return Answer(b"")

    for extras in (Extras(factor=4), Extras(spacing_mm=1.0)):
        showcase._ask(Server(), "HTTP", "super-resolution", b"", "fine", Report(Console(quiet=True)), None, extras)  # type: ignore[arg-type]
    assert asked == [("super-resolution", 4, None), ("super-resolution", None, 1.0)]
