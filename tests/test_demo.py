from pathlib import Path

import numpy as np
import pytest

from calvaria.demo import demonstrate, load_case
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read, write
from calvaria.server.server import Server
from calvaria.showcase import require_same
from calvaria.synthetic import make_skull
from calvaria.volume import BinaryVolume

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(21, 3.0)


@pytest.fixture
def skull_file(skull: BinaryVolume, tmp_path: Path) -> Path:
    write(tmp_path / "skull.nrrd", skull)
    return tmp_path / "skull.nrrd"


def test_a_skull_that_its_own_answer_would_replace_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with pytest.raises(CalvariaError, match=r"completed\.nrrd would be written over") as refused:
        demonstrate(tmp_path / "no server", tmp_path, tmp_path / "completed.nrrd")
    assert refused.value.code is ErrorCode.BAD_OPTION


def test_a_cut_skull_is_its_own_truth(skull: BinaryVolume, skull_file: Path) -> None:
    case = load_case(skull_file, None, seed=3)
    assert case.true_implant is not None
    np.testing.assert_array_equal(case.defective.mask ^ case.true_implant.mask, skull.mask)


def test_truth_may_be_the_implant_or_the_whole_skull(skull_file: Path, tmp_path: Path) -> None:
    case = load_case(skull_file, None, seed=3)
    assert case.true_implant is not None
    write(tmp_path / "defective.nii.gz", case.defective)
    write(tmp_path / "implant.nii", case.true_implant)
    x, y, z = case.true_implant.origin_mm
    write(tmp_path / "near.nrrd", BinaryVolume.on_grid(case.true_implant.mask, case.true_implant.spacing_mm, (x, y, z + 0.004)))
    for truth in (tmp_path / "implant.nii", tmp_path / "near.nrrd", skull_file):
        loaded = load_case(tmp_path / "defective.nii.gz", truth, seed=None)
        assert loaded.true_implant is not None
        np.testing.assert_array_equal(loaded.true_implant.mask, case.true_implant.mask)
    assert load_case(tmp_path / "defective.nii.gz", None, seed=None).true_implant is None


def test_what_makes_no_sense_together_is_refused(skull: BinaryVolume, skull_file: Path, tmp_path: Path) -> None:
    for volume, seed in [(skull_file, 3), (None, None)]:
        with pytest.raises(CalvariaError) as refusal:
            load_case(volume, skull_file, seed)
        assert refusal.value.code is ErrorCode.BAD_OPTION
    write(tmp_path / "elsewhere.nrrd", BinaryVolume.on_grid(skull.mask, skull.spacing_mm, (500, 0, 0)))
    with pytest.raises(CalvariaError) as refusal:
        load_case(skull_file, tmp_path / "elsewhere.nrrd", None)
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY


def test_answers_that_differ_in_a_voxel_or_in_place_are_noticed(skull: BinaryVolume) -> None:
    require_same("implant", skull, BinaryVolume(skull.mask.copy(), skull.affine))
    other = skull.mask.copy()
    other[0, 0, 0] ^= True
    moved = BinaryVolume.on_grid(skull.mask, skull.spacing_mm, (1, 0, 0))
    for different in (skull.like(other), moved):
        with pytest.raises(CalvariaError, match="different volumes for implant"):
            require_same("implant", skull, different)


def test_a_server_that_runs_already_is_left_alone(skull_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(server: Server) -> None:
        raise CalvariaError(ErrorCode.UNAVAILABLE, "A server already runs.")

    server = Server.apart(tmp_path / "server", ROOT / "config.properties")
    monkeypatch.setattr(Server, "start", refuse)
    monkeypatch.setattr(Server, "stop", lambda server: pytest.fail("stopped a server that it did not start"))
    with pytest.raises(CalvariaError, match="already runs"):
        demonstrate(server.folder, tmp_path / "out", skull_file, seed=3)


def test_a_folder_that_cannot_be_made_is_said_before_a_server_is_started(
    skull_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "start", lambda server: pytest.fail("started"))
    with pytest.raises(CalvariaError, match="cannot be written: File exists"):
        demonstrate(Server.apart(tmp_path / "server", ROOT / "config.properties").folder, skull_file, skull_file, seed=3)


@pytest.mark.server
def test_demo_leaves_an_implant_a_picture_and_no_server(
    skull_file: Path, model_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server.apart(tmp_path / "server", ROOT / "config.properties", model_store=str(model_store))
    demonstrate(server.folder, tmp_path / "out", skull_file, seed=3)
    assert not server.running
    defective = load_case(skull_file, None, seed=3).defective
    completed, implant = (read(tmp_path / "out" / f"{name}.nrrd").volume for name in ("completed", "implant"))
    np.testing.assert_array_equal(completed.mask, defective.mask | implant.mask)
    assert implant.same_grid(defective)
    assert (tmp_path / "out" / "implant.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "same voxels and the same geometry" in said
    assert "border DSC" in said
