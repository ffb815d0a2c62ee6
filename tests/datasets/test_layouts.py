"""Folders of cases: recognised, read, split by skull, or refused with what was looked for."""

import logging
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.datasets import Pair, pairs, split
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import write
from calvaria.volume import BinaryVolume
from tests.orientations import ORIENTATIONS, stored

CLASSES = ("bilateral", "frontoorbital", "parietotemporal", "random_1", "random_2")


def cases(folder):
    return [(pair.name, pair.skull, pair.kind, bool(pair.complete), bool(pair.implant)) for pair in pairs(folder)]


def test_skullbreak(lay, defective, implant):
    names = [f"complete_skull/{n}.nrrd" for n in ("000", "001")]
    names += [f"{role}/{kind}/{n}.nrrd" for role in ("defective_skull", "implant") for kind in CLASSES for n in ("000", "001")]
    folder = lay(*names)
    assert cases(folder) == [(f"{kind}/{n}", n, kind, True, True) for kind in CLASSES for n in ("000", "001")]
    given_, truth = pairs(folder)[3].read()
    assert np.array_equal(given_.mask, defective.mask)
    assert np.array_equal(truth.mask, implant.mask)
    assert given_.same_grid(truth)


def test_skullfix(lay):
    folder = lay(*(f"{role}/{n}.nrrd" for role in ("complete_skull", "defective_skull", "implant") for n in ("000", "007")))
    assert cases(folder) == [("000", "000", "", True, True), ("007", "007", "", True, True)]


@pytest.mark.parametrize("truth", ["implant", "complete"])
def test_a_folder_for_each_case(lay, implant, truth):
    folder = lay("Mrs X/defective.nii.gz", f"Mrs X/{truth}.nrrd", "b/Defective.NRRD", f"b/{truth}_skull.nii")
    assert [pair.name for pair in pairs(folder)] == ["Mrs X", "b"]
    for pair in pairs(folder):
        assert pair.kind == ""
        assert np.array_equal(pair.read()[1].mask, implant.mask)


def test_a_folder_for_each_skull_and_in_it_for_each_defect(lay):
    folder = lay("s1/complete.nrrd", "s1/left/defective.nrrd", "s1/right/defective.nrrd", "s1/right/implant.nrrd", "s2/left/defective.nrrd")
    assert cases(folder) == [
        ("s1/left", "s1", "left", True, False),
        ("s1/right", "s1", "right", True, True),
        ("s2/left", "s2", "left", False, False),
    ]
    with pytest.raises(CalvariaError, match="s2/left has neither an implant nor a complete skull"):
        pairs(folder)[2].read()


def test_a_skull_with_a_defect_of_its_own_may_have_others_in_folders(lay):
    folder = lay("s/defective.nrrd", "s/complete.nrrd", "s/left/defective.nrrd", "s/pictures/implant.nrrd")
    assert cases(folder) == [("s", "s", "", True, False), ("s/left", "s", "left", True, False)]


@pytest.mark.parametrize("roles", [("defective", "implant"), ("Defective_Skulls", "complete"), ("defectives", "implants", "complete")])
def test_parallel_folders(lay, implant, roles):
    folder = lay(*(f"{role}/{name}.nii.gz" for role in roles for name in ("ä ö", "7")))
    assert [pair.name for pair in pairs(folder)] == ["7", "ä ö"]
    assert np.array_equal(pairs(folder)[1].read()[1].mask, implant.mask)


@pytest.mark.parametrize("pattern", ["{name}_{role}.nrrd", "{role}-{name}.nii.gz", "{name} {role}.NRRD"])
@pytest.mark.parametrize("truth", ["implant", "complete"])
def test_all_in_one_folder(lay, implant, pattern, truth):
    folder = lay(*(pattern.format(name=name, role=role) for role in ("defective", truth) for name in ("a_1", "b")), "other.nrrd")
    assert [(pair.name, pair.skull) for pair in pairs(folder)] == [("a_1", "a_1"), ("b", "b")]
    for pair in pairs(folder):
        assert np.array_equal(pair.read()[1].mask, implant.mask)


@pytest.mark.parametrize(
    "names", [("7_bilateral", "7_random_1"), ("bilateral-7", "random-7")], ids=["classes behind the head", "classes before it"]
)
def test_defects_of_one_head_are_one_heads(lay, names):
    folder = lay(*(f"{name}_{role}.nrrd" for name in names for role in ("defective", "implant")))
    assert {pair.skull for pair in pairs(folder)} == {"7"}
    assert [pair.name for pair in pairs(folder)] == sorted(names)


def test_folders_may_be_called_as_classes(lay):
    folder = lay(
        *(f"{kind}/{head}/{role}.nrrd" for kind in ("bilateral", "random_1") for head in "78" for role in ("defective", "implant"))
    )
    assert {(pair.skull, pair.kind) for pair in pairs(folder)} == {(head, kind) for head in "78" for kind in ("bilateral", "random_1")}


@pytest.mark.parametrize("others", [("c/defective.nrrd", "c/implant.nrrd"), ("defective/c.nrrd", "implant/c.nrrd")])
def test_pairs_beside_folders_are_cases_too(lay, others):
    folder = lay(*others, "a_defective.nrrd", "a_implant.nrrd")
    assert [pair.name for pair in pairs(folder)] == ["a", "c"]
    lay("c_defective.nrrd", "c_implant.nrrd")
    with pytest.raises(CalvariaError, match="are both case c; rename one of them"):
        pairs(folder)


def test_two_files_of_one_role_in_one_folder_are_refused(lay):
    folder = lay("a_defective.nrrd", "defective_a.nrrd")
    with pytest.raises(CalvariaError, match="say the same"):
        pairs(folder)


def test_what_systems_leave_behind_is_no_case(lay):
    folder = lay("defective/1.nrrd", "implant/1.nrrd")
    for name in ("defective/._1.nrrd", "defective/.DS_Store", "defective/readme.txt", ".git/x/defective.nrrd", "implant/Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"?")
    assert [pair.name for pair in pairs(folder)] == ["1"]


def test_nothing_is_opened_before_it_is_read(lay):
    folder = lay("a/defective.nrrd", "a/implant.nrrd")
    (folder / "a/defective.nrrd").write_bytes(b"no volume")
    (pair,) = pairs(folder)
    with pytest.raises(CalvariaError) as refusal:
        pair.read()
    assert refusal.value.code is ErrorCode.NOT_A_VOLUME


def test_an_implant_holds_nothing_of_the_defective_skull(lay, defective, implant, tmp_path):
    folder = lay("a/defective.nrrd")
    write(folder / "a/implant.nrrd", implant.like(implant.mask | defective.mask))
    assert np.array_equal(pairs(folder)[0].read()[1].mask, implant.mask)


def test_files_on_different_grids_are_no_pair(lay, complete):
    folder = lay("a/defective.nrrd")
    for other in (BinaryVolume.on_grid(complete.mask, (1.5, 1.5, 2.5), (-10, 5, 30)), BinaryVolume(complete.mask[1:], complete.affine)):
        write(folder / "a/complete.nrrd", other)
        with pytest.raises(CalvariaError, match="different grids") as refusal:
            pairs(folder)[0].read()
        assert refusal.value.code is ErrorCode.BAD_GEOMETRY
    nearly = complete.affine + np.array([[0, 0, 0, 1e-3]] * 3 + [[0] * 4])
    write(folder / "a/complete.nrrd", BinaryVolume(complete.mask, nearly))
    assert pairs(folder)[0].read()[0].same_grid(pairs(folder)[0].read()[1])


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[1::7])
def test_files_that_order_or_flip_their_axes_otherwise_are_a_pair_all_the_same(lay, complete, implant, axes, flips):
    folder = lay("a/defective.nrrd")
    write(folder / "a/complete.nrrd", stored(complete, axes, flips))
    assert np.array_equal(pairs(folder)[0].read()[1].mask, implant.mask)


def test_names_in_parallel_folders_may_say_what_the_files_hold(lay, implant):
    folder = lay("defective/001_defective.nrrd", "implant/001_implant.nrrd", "complete/complete-002.nrrd", "defective/002.nrrd")
    assert cases(folder) == [("001", "001", "", False, True), ("002", "002", "", True, False)]
    assert np.array_equal(pairs(folder)[0].read()[1].mask, implant.mask)
    lay("implant/implant_001.nrrd")
    with pytest.raises(CalvariaError, match="say the same"):
        pairs(folder)


def test_what_was_assumed_is_logged(lay, caplog):
    folder = lay("a/defective.nrrd", "a/implant.nrrd")
    for role in ("defective", "implant"):
        content = (folder / f"a/{role}.nrrd").read_bytes()
        (folder / f"a/{role}.nrrd").write_bytes(re.sub(rb"space origin:.*\n", b"", content, count=1))
    pairs(folder)[0].read()
    assert caplog.text.count("no origin") == 2


@pytest.mark.parametrize(
    "names", [(), ("complete/1.nrrd",), ("defective_skull/1.nrrd",), ("a/b/c/defective.nrrd",), ("whole.nrrd",), ("a/complete.nrrd",)]
)
def test_a_folder_in_no_layout_is_refused_with_what_was_looked_for(lay, tmp_path, names):
    (tmp_path / "data").mkdir()
    with pytest.raises(CalvariaError, match=r"Looked for: defective_skull/CLASS/NAME\.nrrd .*/defective\.nrrd") as refusal:
        pairs(lay(*names))
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_a_folder_above_one_names_it(lay, tmp_path):
    lay("train/defective_skull/a/1.nrrd", "train/complete_skull/1.nrrd")
    with pytest.raises(CalvariaError, match=r"Inside it, these are: .*train"):
        pairs(tmp_path / "data")


def test_an_absent_folder_is_refused(tmp_path):
    with pytest.raises(CalvariaError, match="cannot be read: No such file"):
        pairs(tmp_path / "none")


@pytest.mark.parametrize(
    "names",
    [
        ("defective/1.nrrd", "defective/1.nii.gz", "implant/1.nrrd"),
        ("a/defective.nrrd", "a/defective_skull.nrrd", "a/implant.nrrd"),
        ("defective/1.nrrd", "defective_skull/1.nrrd", "implant/1.nrrd"),
    ],
)
def test_two_of_one_name_are_refused(lay, names):
    with pytest.raises(CalvariaError, match="leave one of them"):
        pairs(lay(*names))


def test_a_mistyped_case_is_said(lay, caplog):
    folder = lay("a/defective.nrrd", "a/implant.nrrd", "b/complete.nrrd")
    with caplog.at_level(logging.WARNING):
        assert len(pairs(folder)) == 1
    assert "No file called defective" in caplog.text
    assert str(folder / "b") in caplog.text


some_pairs = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("xyz")), unique=True).map(
    lambda names: [Pair(f"{skull}/{kind}", skull, kind, defective=None) for skull, kind in names]
)


@given(some_pairs, st.floats(0, 1), st.integers(0, 99), st.randoms(use_true_random=False))
def test_a_split_parts_skulls_whole_and_does_not_ask_for_their_order(found, share, seed, rng):
    train, test = split(found, share, seed)
    assert sorted(train + test, key=found.index) == found
    assert not {pair.skull for pair in train} & {pair.skull for pair in test}
    shuffled = rng.sample(found, len(found))
    assert {pair.name for pair in split(shuffled, share, seed)[1]} == {pair.name for pair in test}
    skulls = len({pair.skull for pair in found})
    tested = len({pair.skull for pair in test})
    assert abs(tested - share * skulls) <= (1 if skulls > 1 else 0.5)
    if 0 < share < 1 and skulls > 1:
        assert 0 < tested < skulls


def test_another_seed_is_another_split_and_a_wrong_share_is_refused():
    found = [Pair(str(i), str(i), "", defective=None) for i in range(40)]
    assert len({tuple(pair.name for pair in split(found, 0.5, seed)[1]) for seed in range(5)}) == 5
    assert split(found, 0.25, 3) == split(found, 0.25, 3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(found, 1.5)
