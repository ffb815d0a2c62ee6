"""Bone from CT, through the function and through the command."""

import numpy as np
import pytest
from typer.testing import CliRunner

from calvaria.cli import app
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import Image, decode, encode, read, read_image
from calvaria.threshold import threshold


@pytest.fixture
def head() -> np.ndarray:
    """A shell of bone at 1200 HU around 40 HU, in air; a speck of metal and a headrest beside it."""
    radius = np.linalg.norm(np.moveaxis(np.indices((24, 26, 28)), 0, -1) - [12, 12, 13], axis=-1)
    ct = np.where(radius < 9, np.where(radius < 7, 40, 1200), -1000).astype("i2")
    ct += np.random.default_rng(1).integers(-30, 30, ct.shape, dtype="i2")
    ct[1, 1, 1] = 3000
    ct[:, 24, :6] = 400
    return ct


@pytest.fixture
def ct_file(head, tmp_path):
    import nrrd

    path = tmp_path / "ct.nrrd"
    nrrd.write(str(path), head, {"space": "RAS", "space directions": np.diag([0.5, 0.5, 1.0]), "space origin": [1.0, 2.0, 3.0]})
    return path


def test_the_largest_piece_of_bone_is_kept_on_the_grid_of_the_scan(head, ct_file):
    image = read_image(ct_file)
    bone = threshold(image, 300)
    radius = np.linalg.norm(np.moveaxis(np.indices(head.shape), 0, -1) - [12, 12, 13], axis=-1)
    assert np.array_equal(bone.mask, (radius < 9) & (radius >= 7))
    assert np.array_equal(bone.affine, image.affine)
    assert bone.affine[0, 0] == -0.5


def test_a_voxel_of_exactly_the_threshold_is_bone(ct_file):
    image = read_image(ct_file)
    image.samples[:] = -1000
    image.samples[3:5, 3, 3] = 300
    assert threshold(image, 300).occupied == 2
    with pytest.raises(CalvariaError, match="the samples end at 300") as refusal:
        threshold(image, 301)
    assert refusal.value.code is ErrorCode.EMPTY_MASK


def test_the_command_named_in_the_refusal_does_what_it_says(ct_file, tmp_path):
    with pytest.raises(CalvariaError, match="calvaria threshold"):
        read(ct_file)
    out = tmp_path / "skull.nrrd"
    ran = CliRunner().invoke(app, ["threshold", str(ct_file), "--hu", "300", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    expected = threshold(read_image(ct_file), 300)
    assert np.array_equal(read(out).volume.mask, expected.mask)
    assert np.array_equal(decode(encode(expected, "nrrd")).volume.affine, read(out).volume.affine)


def test_what_cannot_be_hounsfield_units_is_refused_with_the_remedy(ct_file):
    image = read_image(ct_file)
    unsigned = Image((image.samples + 1024).clip(0).astype("u2"), image.affine, "nrrd")
    with pytest.raises(CalvariaError, match="--offset -1024") as refusal:
        threshold(unsigned, 300)
    assert refusal.value.code is ErrorCode.NOT_HOUNSFIELD
    assert np.array_equal(threshold(unsigned, 300, -1024).mask, threshold(image, 300).mask)
    with pytest.raises(CalvariaError, match="cannot be Hounsfield units"):
        threshold(Image(image.samples * 1e4, image.affine, "nrrd"), 300)


def test_a_padded_float_scan_is_thresholded_and_nan_is_air(ct_file):
    image = read_image(ct_file)
    padded = image.samples.astype("f4")
    padded[:2], padded[-1], padded[0, 0, 0] = np.nan, -3024, np.inf
    assert threshold(Image(padded, image.affine, "nrrd"), 300).occupied > 1000
    with pytest.raises(CalvariaError, match="No sample is a finite number"):
        threshold(Image(np.full((3, 3, 3), np.nan), image.affine, "nrrd"), 300)


def test_a_scan_may_be_one_voxel_thin():
    samples = np.full((1, 301, 1), -1000, np.int16)
    samples[0, ::2] = 500
    samples[0, 7] = 500
    assert np.flatnonzero(threshold(Image(samples, np.eye(4), "nrrd"), 300).mask).tolist() == [6, 7, 8]


@pytest.mark.parametrize(("hu", "offset_hu"), [(np.nan, 0.0), (300.0, np.nan), (-np.inf, 0.0)])
def test_numbers_that_are_not_finite_are_refused(hu, offset_hu):
    scan = Image(np.full((3, 3, 3), -1000, np.int16), np.eye(4), "nrrd", ())
    with pytest.raises(CalvariaError, match="finite") as refused:
        threshold(scan, hu, offset_hu)
    assert refused.value.code is ErrorCode.BAD_OPTION
