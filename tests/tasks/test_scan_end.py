"""Where a scan ended, in a volume that reaches further: found, and nothing added beyond it."""

import numpy as np
import pytest

from calvaria.tasks import Settings
from calvaria.tasks.completion import prepare
from calvaria.tasks.scan_end import PLATE_MM, clear_beyond, flat_ends, main_part, oblique_end
from calvaria.tasks.task import Prepared
from calvaria.volume import BinaryVolume, Mask

SPACING_MM = 1.5, 1.5, 2.0
SHAPE = 120, 120, 90
CENTRE_MM = 90.0


def upwards(degrees: float) -> np.ndarray:
    """The normal of a plane that is turned about both axes across the head."""
    turn = np.radians(degrees)
    return np.array([np.sin(turn) * 0.6, np.sin(turn) * 0.8, np.cos(turn)])


def places() -> np.ndarray:
    """[3, X, Y, Z]: voxels' centres, mm from the corner."""
    axes = [(np.arange(count) + 0.5) * mm for count, mm in zip(SHAPE, SPACING_MM, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def height_mm(degrees: float) -> np.ndarray:
    """[X, Y, Z]: above a plane through a head's middle."""
    return np.tensordot(upwards(degrees), places() - CENTRE_MM, axes=1)


def vault(degrees: float, thick_mm: float = 20) -> Mask:
    """A hollow ball of 75 mm, less what lies below a plane 15 mm under its middle."""
    distance = np.linalg.norm(places() - CENTRE_MM, axis=0)
    return np.asarray((distance < 75) & (distance > 75 - thick_mm) & (height_mm(degrees) > -15))


def prepared(mask: Mask) -> Prepared:
    return prepare(BinaryVolume.on_grid(mask, SPACING_MM), Settings(spacing_mm=3.0))


def end_of(mask: Mask) -> np.ndarray | None:
    head = prepared(mask)
    return oblique_end(head, head.sites)


@pytest.mark.parametrize("degrees", [5, 15, 25])
def test_the_plane_of_an_oblique_end_is_found(degrees: float) -> None:
    plane = end_of(vault(degrees))
    assert plane is not None
    assert -plane[:3] @ upwards(degrees) > np.cos(np.radians(1.5))
    assert abs(plane[3] - upwards(degrees) @ np.full(3, CENTRE_MM) + 15) < 3


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(vault(0), id="an end across the third axis"),
        pytest.param(vault(45), id="steeper than any scan"),
        pytest.param(vault(15, thick_mm=4), id="hardly any bone"),
        pytest.param(np.asarray(np.linalg.norm(places() - CENTRE_MM, axis=0) < 70), id="round"),
        pytest.param(np.asarray((places()[2] > 40) & (places()[2] < 42)), id="flat"),
        pytest.param(np.asarray(np.linalg.norm(places() - CENTRE_MM, axis=0) < 4), id="a few cells"),
    ],
)
def test_there_is_none_in_what_ends_otherwise(mask: Mask) -> None:
    assert end_of(mask) is None


@pytest.mark.parametrize("speck", [False, True])
@pytest.mark.parametrize("first", [(0, 0, 0), (7, 3, 5)])
@pytest.mark.parametrize("degrees", [0, 15])
def test_what_lies_beyond_is_cleared_and_what_lies_before_is_not(degrees: float, first: tuple[int, int, int], speck: bool) -> None:
    """Whatever lies somewhere below, as part of a head rest."""
    head, whole = vault(degrees), np.ones(SHAPE, np.bool_)
    head[50:60, 50:60, 4:8] |= speck
    missing = whole[tuple(slice(start, None) for start in first)].copy()
    clear_beyond(missing, first, prepared(head))
    part = tuple(slice(start, None) for start in first)
    height, near = height_mm(degrees)[part] + 15, (np.linalg.norm(places() - CENTRE_MM, axis=0) < 80)[part]
    assert not missing[near & (height < (PLATE_MM - 2.5 if degrees else -1))].any()
    assert missing[near & (height > (PLATE_MM + 4 if degrees else 1))].all()


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("axis", range(3))
def test_nothing_is_added_beyond_a_scan_that_ends_within_the_head(axis: int, high: bool) -> None:
    """At the top, a side, the front or the back; below as in every scan."""
    along = places()[axis] - CENTRE_MM
    whole = np.linalg.norm(places() - CENTRE_MM, axis=0) < 75
    beyond = along > 45 if high else along < -45
    hollow = whole & (np.linalg.norm(places() - CENTRE_MM, axis=0) > 66)
    head, missing = prepared(hollow & ~beyond), np.ones(SHAPE, np.bool_)
    ends = list(flat_ends(head, main_part(head)))
    clear_beyond(missing, (0, 0, 0), head)
    assert [(end.axis, end.high) for end in ends] == ([] if (axis, high) == (2, False) else [(axis, high)])
    assert not missing[beyond].any()
    assert missing[whole & (along < 35 if high else along > -35)].mean() > 0.99
    assert not list(flat_ends(prepared(hollow), main_part(prepared(hollow))))


def test_where_a_scan_ends_is_named() -> None:
    left = places()[0] > CENTRE_MM + 45
    shell = (np.linalg.norm(places() - CENTRE_MM, axis=0) < 75) & (np.linalg.norm(places() - CENTRE_MM, axis=0) > 66)
    head = prepared(shell & ~left & ~(places()[2] > CENTRE_MM + 50))
    assert [end.name for end in flat_ends(head, main_part(head))] == ["left side", "top"]
