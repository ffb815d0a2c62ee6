"""A network learns from the users' own defective skulls."""

import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import torch

from calvaria.datasets import pairs
from calvaria.datasets.index import DataSet
from calvaria.datasets.prepare import Recipe, plan
from calvaria.datasets.prepare import prepare as prepare_folder
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.files import filling
from calvaria.geometry import to_canonical
from calvaria.io import read, write
from calvaria.synthetic import cut_defect, make_skull
from calvaria.tasks.completion import prepare
from calvaria.tasks.super_resolution import INPUTS
from calvaria.training.checkpoint import Progress
from calvaria.training.completion import graded_example
from calvaria.training.config import TrainConfig
from calvaria.training.data import Example
from calvaria.training.examples import HeldOut, training_examples
from calvaria.training.fit import fit
from calvaria.training.lessons import LESSONS
from calvaria.training.run import run
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, load_weights

WRITTEN = """
task = "completion"
seed = 5
validate_every = 4
validation_skulls = 2
network = {channels = [4, 4, 8, 8, 8, 8, 8], inputs = 1}
settings = {spacing_mm = 6.0}
data = {skulls = 3}
optimizer = {steps = 4, batch = 2, warmup = 2}
"""
CONFIG = TrainConfig.of(tomllib.loads(WRITTEN), "this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads with two defects each, as pairs; each head's axes run in another order."""
    data = tmp_path_factory.mktemp("data")
    for seed in (11, 12, 13):
        skull = make_skull(seed, 4.0)
        for number in (1, 2):
            cut = cut_defect(skull, 10 * seed + number)
            place = data / f"head {seed}" / f"defect {number}"
            place.mkdir(parents=True)
            write(place / "defective.nrrd", turned(cut.defective, seed))
            write(place / "implant.nrrd", turned(cut.implant, seed))
    return data


def turned(volume: BinaryVolume, times: int) -> BinaryVolume:
    """The same anatomy, its axes in another order."""
    order = [(axis + times) % 3 for axis in range(3)]
    return BinaryVolume(volume.mask.transpose(order), volume.affine[:, [*order, 3]])


def learning_from(folder: Path, **data: float) -> TrainConfig:
    return replace(CONFIG, data=replace(CONFIG.data, cases=str(folder), **data))


def same(a: Example, b: Example) -> bool:
    return a.sites.shape == b.sites.shape and np.array_equal(a.sites, b.sites) and np.allclose(a.wanted, b.wanted, atol=1e-6)


def test_examples_are_the_folders_cases_mirrored_or_not(folder: Path, tmp_path: Path) -> None:
    config = learning_from(folder, anew=0.0)
    learned, _ = LESSONS["completion"].given.cases(config)
    expected = []
    for pair in learned:
        defective, implant = pair.read()
        for step in (1, -1):
            along = [to_canonical(each).volume for each in (defective, defective.like(defective.mask | implant.mask))]
            expected.append(graded_example(*(volume.like(volume.mask[::step]) for volume in along), CONFIG.settings))
    examples = training_examples(config, tmp_path)
    drawn = [examples[index] for index in range(8)]
    assert all(any(same(example, one) for one in expected) for example in drawn)
    assert len({example.sites.tobytes() for example in drawn}) > 3


def test_examples_with_a_new_defect_keep_the_head(folder: Path, tmp_path: Path) -> None:
    own, anew = (training_examples(learning_from(folder, anew=share), tmp_path) for share in (0.0, 1.0))
    for index in range(4):
        first, second = own[index], anew[index]
        assert not same(first, second)
        assert first.wanted.sum() == pytest.approx(second.wanted.sum(), rel=1e-3)


def test_a_head_is_learned_from_or_validated_on(folder: Path, tmp_path: Path) -> None:
    learned, held_out = LESSONS["completion"].given.cases(learning_from(folder))
    assert len(learned) == 4
    assert len(held_out) == 2
    assert not {pair.skull for pair in learned} & {pair.skull for pair in held_out}
    assert {pair.name for pair in (*learned, *held_out)} == {pair.name for pair in pairs(folder)}
    sites = {prepare(volume, CONFIG.settings).sites.sum() for volume in (pair.read()[0] for pair in held_out)}
    examples = HeldOut(learning_from(folder), tmp_path)
    assert {examples[index].sites.sum() for index in range(len(examples))} == sites, "each"


def test_a_run_learns_from_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says in lines how far it is, since a test's output is no terminal; of a team, only the first says anything."""
    config = tmp_path / "own.toml"
    config.write_text(WRITTEN)
    run("completion", config, tmp_path / "run", "cpu", cases=folder)
    first, *lines, path = capsys.readouterr().out.splitlines()
    begun, *_, ended = (line for line in lines if line.startswith("training"))
    assert first == "skulls 1 of 6, learned from and validated on: 4 of 2 heads, 2 of 1 heads"
    assert re.fullmatch(r"training 1 of 4, loss \d\.\d{3}", begun)
    assert re.fullmatch(r"training 4 of 4, loss \d\.\d{3}, implant DSC \d\.\d{3}", ended)
    assert path == str(tmp_path / "run" / WEIGHTS)
    trained = load_weights(tmp_path / "run" / WEIGHTS)[0].state_dict()
    monkeypatch.setenv("RANK", "1")
    run("completion", config, tmp_path / "again", "cpu", cases=folder)
    assert capsys.readouterr().out == ""
    assert all(torch.equal(tensor, trained[name]) for name, tensor in load_weights(tmp_path / "again" / WEIGHTS)[0].state_dict().items())
    assert not list(tmp_path.glob("skulls-*")), "none are generated"


def test_a_run_goes_on_with_the_same_cases_alone(folder: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    copytree(folder, cases)
    halfway = tmp_path / "halfway.toml"
    halfway.write_text("until = 2\n" + WRITTEN)
    run("completion", halfway, tmp_path / "run", "cpu", cases=cases)
    (tmp_path / "own.toml").write_text(WRITTEN)
    rmtree(cases / "head 11")
    with pytest.raises(CalvariaError, match=r"belongs to another .* folder of cases"):
        run("completion", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=cases)


def test_one_program_at_a_time_trains_in_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(WRITTEN)
    with (
        filling(tmp_path / "run"),
        pytest.raises(CalvariaError, match=r"Another program fills .*run at this moment: wait until it has ended"),
    ):
        run("completion", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=folder)
    assert not list((tmp_path / "run").iterdir())
    run("completion", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=folder)


def test_a_case_that_nothing_can_be_learned_from_stops_the_run_before_it_begins(folder: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    copytree(folder, cases)
    for path in (cases / "head 12" / "defect 1").iterdir():
        volume = read(path).volume
        write(path, BinaryVolume.on_grid(volume.mask, (0.01, 0.01, 0.01)))
    (tmp_path / "own.toml").write_text(WRITTEN)
    with pytest.raises(CalvariaError, match="head 12/defect 1 cannot be learned from: Nothing in the mask is as large as a cell"):
        run("completion", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=cases)


def test_super_resolution_learns_nothing_from_an_empty_skull(folder: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    copytree(folder, cases)
    for path in (cases / "head 12" / "defect 1").iterdir():
        write(path, BinaryVolume.empty((20, 20, 20), np.eye(4)))
    config = WRITTEN.replace("completion", "super-resolution").replace("inputs = 1", f"inputs = {INPUTS}, grows = false")
    (tmp_path / "own.toml").write_text(config)
    with pytest.raises(CalvariaError, match="head 12/defect 1 cannot be learned from: The mask is empty"):
        run("super-resolution", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=cases)


def test_the_same_heads_at_several_resolutions_are_no_cases(folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(resolutions=(20, 30))
    made = DataSet(tmp_path / "made", asdict(recipe))
    assert list(prepare_folder(folder, made, plan(folder, tmp_path / "made", recipe), recipe))
    with pytest.raises(CalvariaError, match=r"a folder for each resolution. Choose one of: .*20, .*30"):
        training_examples(learning_from(tmp_path / "made"), tmp_path)
    assert training_examples(learning_from(tmp_path / "made" / "30"), tmp_path)


def test_a_case_that_cannot_be_read_stops_the_run_before_it_begins(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for name in ("a", "b"):
        (broken / name).mkdir(parents=True)
        volume = read(pairs(folder)[0].defective).volume
        write(broken / name / "defective.nrrd", volume)
        write(broken / name / "implant.nrrd", volume.like(~volume.mask))
    (tmp_path / "own.toml").write_text(WRITTEN)
    for name, told in (
        ("b", r"^b cannot be learned from: .*implant\.nrrd: The NRRD header"),
        ("a", "^a cannot .* b cannot .* Mend these files"),
    ):
        (broken / name / "implant.nrrd").write_bytes(b"NRRD0004\n")
        with pytest.raises(CalvariaError, match=told):
            run("completion", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=broken)
    assert not (tmp_path / "run").exists()


def test_one_head_is_too_few(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "head").symlink_to(folder / "head 11")
    with pytest.raises(CalvariaError, match="of one head only"):
        training_examples(learning_from(tmp_path / "one"), tmp_path)


def test_refinement_learns_from_no_folder_of_skulls(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CalvariaError, match=r"Looked for: rough/NAME\.nrrd"):
        training_examples(replace(learning_from(folder), task="refinement"), tmp_path)


def test_files_that_break_during_a_run_end_it_with_a_refusal(folder: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    copytree(folder, cases)
    config = replace(learning_from(cases), optimizer=replace(CONFIG.optimizer, steps=40))

    def damage(_: Progress) -> None:
        for path in cases.rglob("*.nrrd"):
            path.write_bytes(b"")

    with pytest.raises(CalvariaError, match=r"head 1\d/defect \d could be read before, and cannot now: .*: This is neither") as refusal:
        fit(config, tmp_path / "run", report=damage)
    assert refusal.value.code is ErrorCode.BAD_OPTION
