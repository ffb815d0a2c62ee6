"""Archives of models: what is packed, and what a folder of weights alone gets."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

import calvaria
from calvaria.errors import CalvariaError
from calvaria.networks import CONFIGS, EncoderDecoder
from calvaria.server.archive import VERSION_FILE, build_archives
from calvaria.server.settings import MODEL_CONFIG
from calvaria.tasks import TASKS, Settings
from calvaria.weights import CLOSE_UP, WEIGHTS, save_weights
from tests.full_disk import no_file_above

pytest.importorskip("model_archiver", reason="torch-model-archiver is not installed")

ROOT = Path(__file__).resolve().parents[2]
HANDLER = ROOT / "handlers" / "calvaria_handler.py"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Weights as `calvaria train` leaves them: alone."""
    (tmp_path / "own" / "completion").mkdir(parents=True)
    save_weights(tmp_path / "own" / "completion" / WEIGHTS, EncoderDecoder(CONFIGS["ch1"]), TASKS["completion"], Settings(spacing_mm=4.0))
    return tmp_path / "own"


def test_weights_alone_are_served_as_the_shipped_model_of_their_name_is(own: Path, tmp_path: Path) -> None:
    (archive,) = build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    with zipfile.ZipFile(archive) as packed:
        assert packed.read(MODEL_CONFIG) == (ROOT / "models" / "completion" / MODEL_CONFIG).read_bytes()
        assert packed.read(WEIGHTS) == (own / "completion" / WEIGHTS).read_bytes()
        assert packed.read(VERSION_FILE).decode().strip() == calvaria.__version__


def test_while_an_archive_is_built_the_one_before_stays_whole(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive,) = build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    before = archive.read_bytes()

    def broken_off(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "writestr", broken_off)
    with pytest.raises(KeyboardInterrupt):
        build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    assert archive.read_bytes() == before


def test_what_lies_in_the_temporary_folder_stays(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "completion").mkdir()
    (tmp_path / "completion" / "case.nrrd").write_text("somebody's")
    build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    assert (tmp_path / "completion" / "case.nrrd").read_text() == "somebody's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["completion", "own", "store"]


@pytest.mark.parametrize("folder", ["a, b", "[ab]"])
def test_both_networks_are_packed_wherever_they_lie(own: Path, tmp_path: Path, folder: str) -> None:
    models = own.rename(tmp_path / folder)
    (models / "completion" / CLOSE_UP).write_bytes(b"second")
    (archive,) = build_archives(models, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    with zipfile.ZipFile(archive) as packed:
        assert packed.read(CLOSE_UP) == b"second"


def test_on_a_full_disk_the_archive_before_stays_and_the_new_one_is_named(own: Path, tmp_path: Path) -> None:
    (archive,) = build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    before = archive.read_bytes()
    with no_file_above(100), pytest.raises(CalvariaError, match=r"completion\.mar cannot be written: "):
        build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    assert archive.read_bytes() == before


def test_a_name_that_no_model_may_have_is_refused(own: Path, tmp_path: Path) -> None:
    (own / "completion").rename(own / "my model")
    (own / "my model" / MODEL_CONFIG).write_text("batchSize: 1\n")
    with pytest.raises(CalvariaError, match="cannot be called 'my model'"):
        build_archives(own, HANDLER, tmp_path / "store")


def test_their_own_configuration_comes_first(own: Path, tmp_path: Path) -> None:
    (own / "completion" / MODEL_CONFIG).write_text("batchSize: 1\n")
    (archive,) = build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    with zipfile.ZipFile(archive) as packed:
        assert packed.read(MODEL_CONFIG) == b"batchSize: 1\n"


def test_earlier_runs_beside_a_model_are_passed_over(own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(own / "completion", own / "close-up-17")
    (archive,) = build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    assert archive.name == "completion.mar"
    assert "close-up-17 is passed over" in caplog.text


def test_a_model_of_a_new_name_needs_a_configuration(own: Path, tmp_path: Path) -> None:
    (own / "completion").rename(own / "closing")
    with pytest.raises(CalvariaError, match="copy that of a model"):
        build_archives(own, HANDLER, tmp_path / "store", shipped=ROOT / "models")
    with pytest.raises(CalvariaError, match="train a model first"):
        build_archives(tmp_path / "none", HANDLER, tmp_path / "store")
