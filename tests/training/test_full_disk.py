"""Where a run cannot write, it says which file or folder, ends, and leaves no half of one; with room again it goes on."""

from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.training.checkpoint import CHECKPOINT
from calvaria.training.fit import fit
from calvaria.training.skulls import store
from calvaria.weights import WEIGHTS
from tests.full_disk import no_file_above
from tests.training.small_run import CONFIG

KEPT = replace(CONFIG, data=replace(CONFIG.data, distinct=2))


def test_skulls_that_cannot_be_kept(tmp_path: Path) -> None:
    skulls = store(CONFIG, tmp_path / "run")
    with no_file_above(100), pytest.raises(CalvariaError, match=r"1\.npz cannot be written: ") as refusal:
        list(skulls.make([1], workers=1))
    assert refusal.value.code is ErrorCode.BAD_OPTION
    assert not list(skulls.folder.iterdir())


@pytest.mark.parametrize("folder", [Path("/proc/run"), Path("/proc/runs/run")])
def test_folders_that_cannot_be_made(folder: Path) -> None:
    for make in (lambda: list(store(CONFIG, folder).make([1], workers=1)), lambda: fit(CONFIG, folder)):
        with pytest.raises(CalvariaError, match=r"^/proc/\S+ cannot be written: ") as refusal:
            make()
        assert refusal.value.code is ErrorCode.BAD_OPTION


def test_examples_that_cannot_be_kept(runs: Path) -> None:
    with no_file_above(100), pytest.raises(CalvariaError, match=r"examples-.*npz cannot be written: ") as refusal:
        fit(KEPT, runs / "examples")
    assert refusal.value.code is ErrorCode.BAD_OPTION
    assert not active_children()
    assert not list((runs / "examples").rglob("*.npz"))


def test_a_checkpoint_that_cannot_be_kept(runs: Path) -> None:
    with no_file_above(2000), pytest.raises(CalvariaError, match=rf"{CHECKPOINT} cannot be written: "):
        fit(CONFIG, runs / "halted")
    assert [path.name for path in (runs / "halted").iterdir()] == ["history.csv"]
    assert same_weights(fit(CONFIG, runs / "halted"), fit(CONFIG, runs / "smooth"))


def test_weights_that_could_not_be_written_are_once_there_is_room(runs: Path) -> None:
    path = fit(CONFIG, runs / "written")
    before = path.read_bytes()
    path.unlink()
    with no_file_above(2000), pytest.raises(CalvariaError, match=rf"{WEIGHTS} cannot be written: "):
        fit(CONFIG, runs / "written")
    assert not path.exists()
    assert fit(CONFIG, runs / "written").read_bytes() == before


def same_weights(one: Path, other: Path) -> bool:
    theirs = load_file(other)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in load_file(one).items())
