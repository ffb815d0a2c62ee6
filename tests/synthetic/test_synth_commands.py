"""`calvaria synth`: a skull and a defect as files that fit together."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calvaria.cli import app
from calvaria.errors import CalvariaError
from calvaria.io import read


def calvaria(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_skull_and_a_defect_cut_into_it(tmp_path: Path) -> None:
    whole, defective, implant = tmp_path / "skull.nrrd", tmp_path / "defective.nii.gz", tmp_path / "implant.nrrd"
    assert "voxels" in calvaria("synth", "skull", "--seed", 2, "--spacing", 3, "--out", whole)
    assert "large" in calvaria("synth", "cut", whole, "--seed", 7, "--kind", "large", "--out", defective, "--implant", implant)
    skull, rest, piece = (read(path).volume for path in (whole, defective, implant))
    assert piece.occupied
    assert rest.same_grid(skull)
    assert np.array_equal(rest.mask ^ piece.mask, skull.mask)


@pytest.mark.parametrize("words", [("--spacing", "0.01"), ("--out", "skull.png")])
def test_what_cannot_be_made_is_refused(tmp_path: Path, words: tuple[str, str]) -> None:
    with pytest.raises(CalvariaError):
        calvaria("synth", "skull", "--out", tmp_path / "skull.nrrd", *words)
    assert not list(tmp_path.iterdir())
