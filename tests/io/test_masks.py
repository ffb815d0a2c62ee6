"""What counts as a mask."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode
from calvaria.io.masks import to_mask
from tests.io.volume_files import ball, by_nibabel, by_pynrrd


def labels(count: int, dtype: str = "u1") -> np.ndarray:
    return (np.arange(9 * 10 * 11) % (count + 1)).reshape(9, 10, 11).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8", "f4", ">f8", ">i2"])
def test_anything_above_zero_is_occupied(dtype):
    samples = labels(60, dtype)
    assert np.array_equal(decode(by_pynrrd(samples)).volume.mask, samples > 0)


def test_a_mask_of_0_and_255_is_a_mask():
    assert np.array_equal(decode(by_pynrrd(ball().astype("u1") * 255)).volume.mask, ball())


def test_zeros_and_ones_in_bytes_are_viewed_not_copied():
    samples = np.asfortranarray(ball().astype("u1"))
    assert np.shares_memory(to_mask(samples, None)[0], samples)


@pytest.mark.parametrize("value", [0, 1])
def test_an_empty_and_a_full_mask_are_masks_here(value):
    assert decode(by_pynrrd(np.full((3, 4, 5), value, "u1"))).volume.occupied == 60 * value


@pytest.mark.parametrize("label", [1, 2, 3, 200])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_a_label_is_chosen(label, dtype):
    samples = labels(300, "i4") if label == 200 else labels(3)
    samples = np.minimum(samples, 200).astype(dtype) if dtype == "u1" else samples.astype(dtype)
    assert np.array_equal(decode(by_pynrrd(samples), label=label).volume.mask, samples == label)


@pytest.mark.parametrize("label", [8_000, 32_768, 100_000])
def test_a_large_label_is_found_among_numbers_of_32_bits(label):
    samples = np.where(ball(), label, 0).astype("f4")
    assert np.array_equal(decode(by_pynrrd(samples), label=label).volume.mask, ball())


@pytest.mark.parametrize("label", [4, 300, 10**12])
def test_an_absent_label_is_refused_and_the_present_ones_are_named(label):
    with pytest.raises(CalvariaError, match="0, 1, 2, 3") as refusal:
        decode(by_pynrrd(labels(3)), label=label)
    assert refusal.value.code is ErrorCode.LABEL_ABSENT


@pytest.mark.parametrize("label", [0, -1])
def test_background_is_no_label(label):
    with pytest.raises(CalvariaError) as refusal:
        decode(by_pynrrd(labels(3)), label=label)
    assert refusal.value.code is ErrorCode.BAD_OPTION


rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    "samples",
    [
        rng.normal(0, 500, (9, 10, 11)).astype("i2"),
        rng.integers(0, 4000, (9, 10, 11)).astype("u2"),
        rng.integers(0, 255, (9, 10, 11)).astype("u1"),
        np.where(ball(), 1, -1).astype("i1"),
    ],
    ids=["noise", "unsigned noise", "byte noise", "negative"],
)
def test_what_looks_like_ct_is_refused_with_the_command_that_thresholds_it(samples):
    for content in (by_pynrrd(samples), by_nibabel(samples)):
        with pytest.raises(CalvariaError, match=r"calvaria threshold ct\.nrrd --hu 300 --out skull\.nrrd") as refusal:
            decode(content)
        assert refusal.value.code is ErrorCode.NOT_BINARY


@example(at=2**20, value=-1)  # the first of a chunk
@given(at=st.integers(0, 2**21), value=st.sampled_from([-1, 2000]))
def test_a_single_telling_voxel_is_found_wherever_it_lies(at, value):
    samples = np.zeros(2**21 + 1, "i2")
    samples[: 64 * 100] = np.repeat(np.arange(64), 100)  # as many labels as there may be
    before = samples[at]
    samples[at] = value
    with pytest.raises(CalvariaError):
        to_mask(samples.reshape(1, 1, -1), None)
    samples[at] = before
    to_mask(samples.reshape(1, 1, -1), None)


@pytest.mark.parametrize("samples", [rng.random((9, 10, 11)).astype("f4"), rng.random((9, 10, 11)), ball() * np.float32(0.5)])
def test_probabilities_are_called_so(samples):
    for content in (by_pynrrd(samples), by_nibabel(samples)):
        with pytest.raises(CalvariaError, match="look like probabilities") as refusal:
            decode(content)
        assert refusal.value.code is ErrorCode.NOT_BINARY


@pytest.mark.parametrize(
    "samples", [np.full((3, 3, 3), np.nan), np.where(ball(), np.float32(1), np.float32(np.nan)), np.where(ball(), np.inf, 0)]
)
def test_what_is_no_number_is_called_so(samples):
    for content in (by_pynrrd(samples), by_nibabel(samples)):
        with pytest.raises(CalvariaError, match="no finite number") as refusal:
            decode(content)
        assert refusal.value.code is ErrorCode.NOT_BINARY
