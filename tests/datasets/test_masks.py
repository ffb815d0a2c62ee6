"""Folders of rough masks with the right ones: found, read on one grid, or refused."""

from pathlib import Path

import nrrd
import numpy as np
import pytest

from calvaria.datasets import mask_pairs
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import write
from calvaria.volume import BinaryVolume

RNG = np.random.default_rng(0)
RIGHT = BinaryVolume.on_grid(RNG.random((6, 7, 8)) < 0.5, (1.0, 2.0, 3.0), (4.0, -5.0, 6.0))
ROUGH = RIGHT.like(RNG.random((6, 7, 8)) < 0.5)
HU = np.asfortranarray(RNG.integers(-1000, 1000, (6, 7, 8)).astype(np.int16))


@pytest.fixture(params=["a folder for each role", "a folder for each case"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a file of a role and a case lies: a path with {role} and {case} in it."""
    return tmp_path / ("{role}/{case}" if request.param == "a folder for each role" else "{case}/{role}")


def put(place: Path, role: str, case: str, volume: BinaryVolume) -> Path:
    path = Path(str(place).format(role=role, case=case) + ".nrrd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, volume)
    return path


def put_scan(place: Path, case: str, samples: np.ndarray) -> None:
    path = put(place, "scan", case, RIGHT)
    header = nrrd.read_header(str(path))
    nrrd.write(str(path), samples, {name: header[name] for name in ("space", "space directions", "space origin")})


def test_masks_and_scans_are_found_by_case(place: Path, tmp_path: Path) -> None:
    for case in ("two", "one"):
        put(place, "rough", case, ROUGH)
        put(place, "right", case, RIGHT)
    put_scan(place, "one", HU)
    one, two = mask_pairs(tmp_path)
    assert (one.name, two.name) == ("one", "two")
    rough, right, image = one.read()
    np.testing.assert_array_equal(rough.mask, ROUGH.mask)
    np.testing.assert_array_equal(right.mask, RIGHT.mask)
    np.testing.assert_array_equal(image, HU)
    assert two.read()[2] is None
    assert (len(one.paths), len(two.paths)) == (3, 2)


def test_a_map_of_several_labels_is_no_mask_to_compare(place: Path, tmp_path: Path) -> None:
    """Taken together, its organs would be scored as one."""
    put(place, "rough", "case", ROUGH)
    path = put(place, "right", "case", RIGHT)
    header = nrrd.read_header(str(path))
    labels = np.where(RIGHT.mask, 2, 0).astype(np.uint8)
    labels[0, 0, 0] = 3
    nrrd.write(str(path), labels, {name: header[name] for name in ("space", "space directions", "space origin")})
    with pytest.raises(CalvariaError, match=r"holds the labels 2, 3, .*prepare FOLDER --label N") as refused:
        mask_pairs(tmp_path)[0].read()
    assert refused.value.code is ErrorCode.NOT_BINARY


def test_masks_a_hair_apart_come_on_one_grid(place: Path, tmp_path: Path) -> None:
    put(place, "rough", "case", ROUGH)
    put(place, "right", "case", BinaryVolume.on_grid(RIGHT.mask, (1.0, 2.0, 3.0), (4.0, -5.0, 6.004)))
    rough, right, _ = mask_pairs(tmp_path)[0].read()
    assert rough.same_grid(right)
    np.testing.assert_array_equal(right.mask, RIGHT.mask)


def test_a_rough_mask_without_its_right_one_is_refused(place: Path, tmp_path: Path) -> None:
    put(place, "rough", "lonely", ROUGH)
    with pytest.raises(CalvariaError, match="no right mask for lonely") as refusal:
        mask_pairs(tmp_path)
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_two_files_of_one_role_are_refused(place: Path, tmp_path: Path) -> None:
    for role in ("rough", "Rough", "right"):
        put(place, role, "a", ROUGH)
    with pytest.raises(CalvariaError, match="say the same"):
        mask_pairs(tmp_path)


def test_a_right_mask_without_its_rough_one_is_passed_over_aloud(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for role, case in (("rough", "both"), ("right", "both"), ("right", "lonely")):
        put(place, role, case, RIGHT)
    assert [pair.name for pair in mask_pairs(tmp_path)] == ["both"]
    assert "without a rough mask" in caplog.text
    assert "lonely" in caplog.text
    assert "both" not in caplog.text


def test_roles_may_be_capital_and_a_folder_inside_is_hinted_at(tmp_path: Path) -> None:
    for role, volume in (("Rough", ROUGH), ("RIGHT", RIGHT)):
        put(tmp_path / "masks" / "{role}/{case}", role, "case", volume)
    (pair,) = mask_pairs(tmp_path / "masks")
    np.testing.assert_array_equal(pair.read()[1].mask, RIGHT.mask)
    with pytest.raises(CalvariaError, match=r"Inside it, these are: .*masks"):
        mask_pairs(tmp_path)


def test_another_folder_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CalvariaError, match=r"Looked for: rough/NAME\.nrrd") as refusal:
        mask_pairs(tmp_path)
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_files_on_different_grids_and_scans_of_no_known_unit_are_refused(place: Path, tmp_path: Path) -> None:
    put(place, "rough", "case", ROUGH)
    right = put(place, "right", "case", BinaryVolume.on_grid(RIGHT.mask, (1.0, 2.0, 3.1)))
    (pair,) = mask_pairs(tmp_path)
    with pytest.raises(CalvariaError, match="lie on different grids") as refusal:
        pair.read()
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY
    write(right, RIGHT)
    put_scan(place, "case", HU + np.int16(1100))
    (pair,) = mask_pairs(tmp_path)
    with pytest.raises(CalvariaError) as refusal:
        pair.read()
    assert refusal.value.code is ErrorCode.NOT_HOUNSFIELD
