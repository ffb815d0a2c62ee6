import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import Image, as_mask, decode, encode
from calvaria.labels import LabelMap, Part
from calvaria.volume import BinaryVolume

SPACING_MM = (1.0, 2.0, 0.5)


def label_map(labels: np.ndarray) -> LabelMap:
    return LabelMap.of(labels, BinaryVolume.on_grid(labels > 0, SPACING_MM, (3, -4, 5)))


def claiming(part: Part, mask: np.ndarray) -> Part:
    """The same part, with what of a mask on the whole grid lies in its box."""
    return Part(part.label, part.box, part.volume.like(mask[part.box]))


labels_3d = arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.sampled_from([0, 0, 1, 2, 9, 255]))


@given(labels_3d, st.floats(0, 4))
def test_what_nobody_moves_stays(labels: np.ndarray, margin_mm: float) -> None:
    volume = label_map(labels)
    again = volume.redrawn(list(volume.parts(margin_mm)))
    np.testing.assert_array_equal(again.labels, labels)
    assert again.same_grid(volume)


@given(labels_3d)
def test_parts_lie_where_they_lay(labels: np.ndarray) -> None:
    volume = label_map(labels)
    for part in volume.parts(2.0):
        voxel = np.argwhere(part.volume.mask)[0]
        there = voxel + [axis.start for axis in part.box]
        assert labels[tuple(there)] == part.label
        place, expected = (v.affine @ [*index, 1] for v, index in ((part.volume, voxel), (volume, there)))
        np.testing.assert_allclose(place, expected)


@given(labels_3d)
def test_labels_survive_files_of_either_kind(labels: np.ndarray) -> None:
    volume = label_map(labels)
    for format in ("nrrd", "nii.gz"):
        again = decode(encode(volume, format), keep_labels=True).volume
        if volume.present not in ([], [1]):
            assert isinstance(again, LabelMap)
            np.testing.assert_array_equal(again.labels, labels)
        np.testing.assert_array_equal(again.mask, labels > 0)


def test_labels_strewn_over_a_volume_are_refused_before_each_takes_as_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[0, 0, :10] = labels[-1, -1, -10:] = np.arange(1, 11)
    volume = label_map(labels)
    assert len(list(volume.parts(0.0))) == 10
    monkeypatch.setattr("calvaria.labels.MOST_IN_PARTS", 20_000)
    with pytest.raises(CalvariaError, match="Send fewer labels at once") as refused:
        list(volume.parts(0.0))
    assert refused.value.code is ErrorCode.TOO_LARGE


def test_what_two_claim_stays_with_whoever_had_it_and_else_goes_to_the_nearest() -> None:
    labels = np.zeros((12, 1, 1), np.uint8)
    labels[2:4], labels[8:10] = 5, 3
    volume = label_map(labels)
    three, five = volume.parts(20.0)
    assert (three.label, five.label) == (3, 5)
    everything = np.ones(labels.shape, np.bool_)
    drawn = volume.redrawn([claiming(three, everything), claiming(five, everything)]).labels[:, 0, 0]
    assert drawn.tolist() == [5] * 6 + [3] * 6


def test_where_nobody_is_near_the_smaller_label_has_it() -> None:
    labels = np.zeros((60, 1, 1), np.uint8)
    labels[0], labels[1] = 7, 2
    volume = label_map(labels)
    parts = list(volume.parts(100.0))
    far = np.zeros(labels.shape, np.bool_)
    far[50:] = True
    assert set(volume.redrawn([claiming(part, far) for part in parts]).labels[50:].ravel()) == {2}


def test_labels_without_a_part_stay_though_others_move() -> None:
    labels = np.zeros((6, 1, 1), np.uint8)
    labels[0], labels[3] = 1, 2
    volume = label_map(labels)
    first = next(iter(volume.parts(9.0)))
    moved = (labels == 2) | np.roll(labels == 1, 1, axis=0)
    assert volume.redrawn([claiming(first, moved)]).labels[:, 0, 0].tolist() == [0, 1, 0, 2, 0, 0]


@pytest.mark.parametrize("labels", [[0, 1], [0, 65535], [0, 0]])
def test_ones_alone_and_a_single_value_that_no_answer_holds_are_a_mask(labels: list[int]) -> None:
    samples = np.array(labels, np.uint16).reshape(-1, 1, 1)
    assert not isinstance(as_mask(Image(samples, np.eye(4), "nrrd"), keep_labels=True).volume, LabelMap)
    with pytest.raises(CalvariaError, match="labels go up to 255"):
        as_mask(Image(np.array([[[1, 65535]]], np.uint16), np.eye(4), "nrrd"), keep_labels=True)


def test_a_map_is_redrawn_in_a_few_bytes_a_voxel() -> None:
    labels = np.zeros((128, 128, 64), np.uint8)
    labels[40:60, 40:60, 20:40] = 3
    given = LabelMap.of(labels, BinaryVolume.on_grid(labels > 0, (1.0, 1.0, 1.0)))
    parts = list(given.parts(5.0))
    tracemalloc.start()
    given.redrawn(parts)
    assert tracemalloc.get_traced_memory()[1] < 7 * labels.size
    tracemalloc.stop()
