"""NIfTI, with nibabel as the other side."""

import gzip
import io
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, decode_image, encode
from calvaria.volume import BinaryVolume
from tests.io.volume_files import LPS_FROM_RAS, ball, by_nibabel


def lps(spacing=(0.5, 0.75, 1.25), turn=(10, -20, 30), origin=(-90.5, 12.25, 301.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8"])
def test_what_nibabel_wrote_is_read(kind, compress, dtype):
    mask = ball()
    decoded = decode(by_nibabel(mask.astype(dtype), lps(), kind=kind, compress=compress))
    assert np.array_equal(decoded.volume.mask, mask)
    np.testing.assert_allclose(decoded.volume.affine, lps(), atol=2e-5)
    assert decoded.format == ("nii.gz" if compress else "nii")
    assert decoded.warnings == ()


@pytest.mark.parametrize("format", ["nii", "nii.gz"])
@given(
    mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)),
    spacing=st.tuples(*[st.floats(0.1, 5)] * 3),
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    flip=st.booleans(),
)
def test_what_is_written_comes_back_and_nibabel_agrees(format, mask, spacing, turn, flip):
    affine = lps(spacing, turn)
    if flip:
        affine[:3, 0] *= -1
    content = encode(BinaryVolume(mask, affine), format)
    decoded = decode(content)
    assert decoded.format == format
    assert np.array_equal(decoded.volume.mask, mask)
    np.testing.assert_allclose(decoded.volume.affine, affine, atol=2e-5)
    again = decode(encode(decoded.volume, format)).volume
    assert np.array_equal(again.affine, decoded.volume.affine)  # what a float32 can hold it keeps

    image = nib.Nifti1Image.from_bytes(gzip.decompress(content) if format == "nii.gz" else content)
    assert np.array_equal(np.asarray(image.dataobj), mask)
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    for (form, code), tolerance in (
        (image.get_sform(coded=True), 2e-5),
        (image.get_qform(coded=True), 1e-2),
    ):  # a float32 quaternion is coarse
        assert code == 1
        np.testing.assert_allclose(LPS_FROM_RAS @ form, affine, atol=tolerance)


def test_an_axis_too_long_for_nifti_1_is_written_as_nifti_2():
    volume = BinaryVolume(np.ones((40_000, 1, 1), bool), np.eye(4))
    content = encode(volume, "nii")
    assert nib.Nifti2Image.from_bytes(content).shape == volume.shape
    assert decode(content).volume.shape == volume.shape


def changed(change=lambda header: None, samples: np.ndarray | None = None, kind: type = nib.Nifti1Image) -> bytes:
    image = kind(ball().astype("u1") if samples is None else samples, LPS_FROM_RAS @ lps())
    head = image.header
    content = image.to_bytes()
    image_header = type(head).from_fileobj(io.BytesIO(content))
    change(image_header)
    return image_header.binaryblock + content[head.sizeof_hdr :]


def setting(field: str, value, index=None):
    def change(header):
        if index is None:
            header[field] = value
        else:
            header[field][index] = value

    return change


def test_the_qform_places_a_volume_without_sform():
    np.testing.assert_allclose(
        decode(changed(lambda header: header.set_qform(LPS_FROM_RAS @ lps(), code=1) or setting("sform_code", 0)(header))).volume.affine,
        lps(),
        atol=2e-5,
    )


def placed(sform: float, sform_code: int, qform: float, qform_code: int):
    """A file whose forms differ by the width of their voxels."""

    def change(header):
        header.set_qform(LPS_FROM_RAS @ np.diag([qform, qform, qform, 1]), code=qform_code)
        header.set_sform(LPS_FROM_RAS @ np.diag([sform, sform, sform, 1]), code=sform_code)

    return decode(changed(change))


@pytest.mark.parametrize(
    ("sform_code", "qform_code", "taken"), [(1, 1, "sform"), (4, 1, "qform"), (2, 1, "qform"), (1, 2, "sform"), (2, 2, "sform")]
)
def test_of_a_sform_and_a_qform_that_differ_the_scanners_is_taken_with_a_warning(sform_code, qform_code, taken):
    decoded = placed(1.1, sform_code, 1.0, qform_code)
    np.testing.assert_allclose(decoded.volume.spacing_mm, 1.1 if taken == "sform" else 1.0, rtol=1e-6)
    assert decoded.warnings == (f"The file's sform and qform place it differently; the {taken} is taken.",)


def test_rounded_forms_are_alike():
    assert not placed(1.0, 4, 1.0001, 1).warnings


@pytest.mark.parametrize("yaw_deg", [0.01, 0.03, 0.05])
def test_a_turn_that_a_quaternion_cannot_hold_is_no_difference(yaw_deg):
    """Single precision rounds a head's least turns off."""
    turned = lps((0.45, 0.45, 0.7), (10, 0, yaw_deg))
    decoded = decode(encode(BinaryVolume(np.pad(ball(), 100), turned), "nii"))
    np.testing.assert_allclose(decoded.volume.affine, turned, atol=1e-4)
    assert not decoded.warnings


def test_what_no_qform_can_hold_is_in_the_sform_alone():
    sheared = lps()
    sheared[:3, 2] += 0.3 * sheared[:3, 1]
    content = encode(BinaryVolume(ball(), sheared), "nii")
    assert int(nib.Nifti1Image.from_bytes(content).header["qform_code"]) == 0
    decoded = decode(content)
    np.testing.assert_allclose(decoded.volume.affine, sheared, atol=1e-4)
    assert not any("differently" in each for each in decoded.warnings)


def test_a_shift_is_a_difference_whatever_the_turn():
    def change(header):
        header.set_qform(LPS_FROM_RAS @ np.diag([1, 1, 1, 1]), code=1)
        moved = np.eye(4)
        moved[:3, 3] = 0.3
        header.set_sform(LPS_FROM_RAS @ moved, code=1)

    assert "place it differently" in decode(changed(change)).warnings[0]


@pytest.mark.parametrize("pixdim", [-1, 0, np.nan])
def test_what_a_sform_says_needs_no_pixdim(pixdim):
    np.testing.assert_allclose(decode(changed(setting("pixdim", pixdim, 1))).volume.affine, lps(), atol=2e-5)
    with pytest.raises(CalvariaError, match="voxel spacing"):
        decode(changed(lambda header: setting("pixdim", pixdim, 1)(header) or setting("sform_code", 0)(header)))


def test_a_quaternion_that_was_rounded_up_is_a_rotation():
    def turned(length):
        def change(header):
            header["sform_code"], header["qform_code"] = 0, 1
            header["quatern_b"], header["quatern_c"], header["quatern_d"] = 0, 0, length

        return decode(changed(change)).volume

    np.testing.assert_allclose(turned(1.000001).affine, turned(1).affine, atol=2e-3)
    with pytest.raises(CalvariaError, match="orientation cannot be read"):
        turned(1.1)


def test_a_qfac_of_zero_means_one():
    def change(header):
        header.set_qform(LPS_FROM_RAS @ lps(), code=1)
        header["sform_code"] = 0
        header["pixdim"][0] = 0

    np.testing.assert_allclose(decode(changed(change)).volume.affine, lps(), atol=2e-5)


def test_without_sform_and_qform_the_axes_are_taken_as_lps_with_a_warning():
    def change(header):
        header["sform_code"] = header["qform_code"] = 0

    decoded = decode(changed(change))
    np.testing.assert_allclose(decoded.volume.affine, np.diag([0.5, 0.75, 1.25, 1]))
    assert "no sform or qform" in decoded.warnings[0]


def test_an_unknown_unit_of_length_is_taken_as_mm_with_a_warning():
    decoded = decode(changed(setting("xyzt_units", 5)))
    assert decoded.volume.spacing_mm == decode(changed(setting("xyzt_units", 2))).volume.spacing_mm
    assert any("unit of length" in warning for warning in decoded.warnings)


def test_an_unknown_unit_of_time_is_no_matter():
    assert decode(changed(setting("xyzt_units", 2 + 56))).volume.spacing_mm == decode(changed(setting("xyzt_units", 2))).volume.spacing_mm


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000), ("micron", 0.001), ("unknown", 1), ("mm", 1)])
def test_other_units_become_millimetres(unit, mm):
    in_unit = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ lps()
    image = nib.Nifti1Image(ball().astype("u1"), LPS_FROM_RAS @ in_unit)
    image.header.set_xyzt_units(unit)
    np.testing.assert_allclose(decode(image.to_bytes()).volume.affine, lps(), rtol=1e-5, atol=1e-4)


def test_big_endian_files_are_read():
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(ball().astype(">i2"), LPS_FROM_RAS @ lps(), header)
    content = image.to_bytes()
    assert content[:4] == b"\0\0\1\x5c"
    assert np.array_equal(decode(content).volume.mask, ball())


def test_singleton_axes_at_the_end_are_dropped():
    assert np.array_equal(decode(by_nibabel(ball()[..., None].astype("u1"))).volume.mask, ball())


def test_scaled_samples_are_read_as_nibabel_reads_them():
    image = nib.Nifti1Image(np.arange(990, dtype="i2").reshape(9, 10, 11), np.eye(4))
    image.header.set_slope_inter(0.5, -100)
    content = image.to_bytes()
    samples = decode_image(content).samples
    assert samples[0, 0, 3] == -98.5
    np.testing.assert_allclose(samples, nib.Nifti1Image.from_bytes(content).get_fdata())


def test_scaling_doubles_takes_no_second_copy():
    image = nib.Nifti1Image(np.zeros((256, 256, 128)), np.eye(4))
    content = changed_scale(image.to_bytes())
    tracemalloc.start()
    samples = decode_image(content).samples
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.max() == -1000
    assert most < 1.2 * samples.nbytes


def changed_scale(content: bytes) -> bytes:
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(content))
    header["scl_slope"], header["scl_inter"] = 2, -1000
    return header.binaryblock + content[header.sizeof_hdr :]


def test_a_mask_stored_as_scaled_integers_is_still_a_mask():
    image = nib.Nifti1Image(ball().astype("f8"), np.eye(4))
    image.set_data_dtype(np.uint8)
    content = image.to_bytes()
    assert nib.Nifti1Image.from_bytes(content).dataobj.slope != 1
    assert np.array_equal(decode(content).volume.mask, ball())
    assert np.array_equal(decode(content, label=1).volume.mask, ball())


def test_a_header_extension_is_skipped():
    image = nib.Nifti1Image(ball().astype("u1"), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"made by hand" * 10))
    content = image.to_bytes()
    assert nib.Nifti1Header.from_fileobj(io.BytesIO(content))["vox_offset"] > 352
    assert np.array_equal(decode(content).volume.mask, ball())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (setting("srow_x", 0), ErrorCode.BAD_GEOMETRY),
        (setting("srow_y", np.inf), ErrorCode.BAD_GEOMETRY),
        (setting("srow_z", 2e6, 3), ErrorCode.BAD_GEOMETRY),
        (setting("dim", 0, 2), ErrorCode.BAD_HEADER),
        (setting("dim", -3, 2), ErrorCode.BAD_HEADER),
        (setting("dim", 2, 0), ErrorCode.WRONG_DIMENSION),
        (setting("dim", [4, 9, 10, 11, 2, 1, 1, 1]), ErrorCode.WRONG_DIMENSION),
        (setting("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1]), ErrorCode.TOO_LARGE),
        (setting("dim", 12, 3), ErrorCode.TRUNCATED),
        (setting("dim", 10, 3), ErrorCode.BAD_HEADER),  # the data is longer
        (setting("datatype", 64), ErrorCode.TRUNCATED),
        (setting("datatype", 128), ErrorCode.BAD_HEADER),  # RGB
        (setting("datatype", 32), ErrorCode.BAD_HEADER),  # complex
        (setting("datatype", 9999), ErrorCode.BAD_HEADER),
        (setting("vox_offset", 10), ErrorCode.BAD_HEADER),
        (setting("vox_offset", 2**40), ErrorCode.BAD_HEADER),
        (lambda header: setting("scl_slope", 2)(header) or setting("scl_inter", np.nan)(header), ErrorCode.BAD_HEADER),
    ],
)
def test_a_bad_header_is_refused_with_its_code(kind, change, code):
    with pytest.raises(CalvariaError) as refusal:
        decode(changed(change, kind=kind))
    assert refusal.value.code is code
    assert refusal.value.message.endswith(".")


@pytest.mark.parametrize("magic", [b"ni1\0", b"ni2\0"])
def test_a_pair_of_files_is_refused(magic):
    kind = nib.Nifti1Image if magic == b"ni1\0" else nib.Nifti2Image
    with pytest.raises(CalvariaError) as refusal:
        decode(changed(setting("magic", magic), kind=kind))
    assert refusal.value.code is ErrorCode.DETACHED_HEADER
