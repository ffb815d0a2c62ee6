"""Whether a volume is a head, how it lies, and what lies beside it."""

import re

import numpy as np
import pytest

from calvaria.geometry import bounding_box
from calvaria.synthetic import make_skull
from calvaria.tasks import Settings
from calvaria.tasks.completion import prepare
from calvaria.tasks.heads import unlike_heads
from calvaria.tasks.task import Prepared
from calvaria.volume import BinaryVolume


def prepared(head: BinaryVolume) -> Prepared:
    return prepare(head, Settings(spacing_mm=3.0, occupied_share=0.1))


@pytest.fixture(scope="module", params=range(5))
def head(request: pytest.FixtureRequest) -> BinaryVolume:
    return make_skull(request.param, 2.0)


def test_a_head_is_one(head: BinaryVolume) -> None:
    assert unlike_heads(prepared(head)) is None


@pytest.mark.parametrize("axes", [(2,), (0, 2), (1, 2)])
def test_a_head_that_lies_upside_down_is_told(head: BinaryVolume, axes: tuple[int, ...]) -> None:
    """Where the array is turned and the header not."""
    assert "upside down" in (unlike_heads(prepared(head.like(np.flip(head.mask, axes)))) or "")


@pytest.mark.parametrize("turned", [(0, 2), (2, 0), (1, 2), (2, 1)])
def test_a_head_that_lies_on_its_side_its_face_or_its_back_is_told(head: BinaryVolume, turned: tuple[int, int]) -> None:
    """A quarter turn, where the array is turned and the header not."""
    said = unlike_heads(prepared(BinaryVolume.on_grid(np.rot90(head.mask, axes=turned), (2.0, 2.0, 2.0))))
    assert re.search("on its side|on its face|upside down|spans", said or "")


def test_a_head_that_looks_backwards_is_told(head: BinaryVolume) -> None:
    assert "backwards" in (unlike_heads(prepared(head.like(head.mask[::-1, ::-1]))) or "")


def with_holder(head: BinaryVolume, gap_mm: float) -> BinaryVolume:
    """A head on a flat plate."""
    mask = np.pad(head.mask, ((0, 0), (0, 30), (0, 0)))
    behind = bounding_box(head.mask)[1].stop + round(gap_mm / 2)
    mask[10:-10, behind : behind + 3] = True
    return BinaryVolume(mask, head.affine)


def test_a_head_holder_is_no_part_of_the_head(head: BinaryVolume) -> None:
    held, alone = prepared(with_holder(head, 12.0)), prepared(head)
    assert np.array_equal(held.sites, alone.sites)
    assert np.array_equal(held.features, alone.features)
    assert "beside the head" in (unlike_heads(held) or "")


def test_a_vault_that_touches_nothing_is_part_of_the_head(head: BinaryVolume) -> None:
    """As one slice that was lost leaves it."""
    mask = head.mask.copy()
    box = bounding_box(mask)[2]
    mask[:, :, box.start + 6 * (box.stop - box.start) // 10] = False
    assert prepared(head.like(mask)).canonical.volume.occupied == mask.sum()


def without_top(head: BinaryVolume) -> BinaryVolume:
    top = bounding_box(head.mask)[2].stop
    return head.like(head.mask & (np.arange(head.shape[2]) < top - round(25 / head.spacing_mm[2])))


def test_all_that_is_unlike_is_told() -> None:
    said = unlike_heads(prepared(with_holder(without_top(make_skull(3, 1.0)), 24.0))) or ""
    assert "at its top" in said
    assert "beside the head" in said


def test_thick_slices_and_an_end_within_the_head_are_told(head: BinaryVolume) -> None:
    few = BinaryVolume(head.mask[:, :, ::4], head.affine @ np.diag([1, 1, 4, 1]))
    assert "8 mm" in (unlike_heads(prepared(few)) or "")
    assert "at its top" in (unlike_heads(prepared(without_top(make_skull(3, 1.0)))) or "")


def test_a_piece_below_the_head_is(head: BinaryVolume) -> None:
    """Such as a jaw, or a neck."""
    mask = head.mask.copy()
    z = bounding_box(mask)[2]
    mask[:, :, z.start + 10 : z.start + 14] = False
    assert prepared(head.like(mask)).canonical.volume.occupied == mask.sum()


def test_a_header_that_says_so_turns_it_back(head: BinaryVolume) -> None:
    assert unlike_heads(prepared(BinaryVolume(head.mask[:, :, ::-1], head.affine @ np.diag([1, 1, -1, 1])))) is None


def test_what_is_half_as_large_is_no_head(head: BinaryVolume) -> None:
    assert "spans" in (unlike_heads(prepared(BinaryVolume(head.mask, head.affine @ np.diag([0.5, 0.5, 0.5, 1])))) or "")


@pytest.mark.parametrize("side", [1, -1])
def test_a_closed_shell_does_not_tell_which_end_is_up(side: int) -> None:
    """With a step at one end that a vault has not."""
    axis = np.arange(-100.0, 100.0, 2.0)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    size = np.sqrt((x / 72) ** 2 + (y / 90) ** 2 + (z / 75) ** 2)
    step = (np.hypot(x, y) < 25) & (side * z > 60) & (side * z < 90)
    assert unlike_heads(prepared(BinaryVolume.on_grid((size < 1) & (size > 0.92) | step, (2.0, 2.0, 2.0)))) is None
