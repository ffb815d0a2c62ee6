"""Whether a volume is a head, and which end of it is up."""

import numpy as np
import pytest

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
