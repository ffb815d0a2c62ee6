from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calvaria.picture import WIDTH, Subject, render_implant
from calvaria.raycast import SURFACE, Camera, Scene, View, render
from calvaria.volume import BinaryVolume, Mask


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> Mask:
    grid = np.indices(shape) - np.array(centre).reshape(3, 1, 1, 1)
    return np.sqrt((grid**2).sum(axis=0)) < radius


def look(solid: Mask, paint: Mask, azimuth_deg: float, elevation_deg: float = 0.0) -> View:
    scene = Scene.of(solid.astype(np.float32), paint.astype(np.float32))
    return render(scene, Camera.framing(scene, azimuth_deg, elevation_deg, aspect=1.0), 60, 60)


@pytest.fixture
def skull() -> tuple[BinaryVolume, BinaryVolume]:
    """A thick hollow ball of 2 mm cells, and what was cut out at its left."""
    shell = ball((64, 64, 64), (32, 32, 32), 27) & ~ball((64, 64, 64), (32, 32, 32), 22)
    implant = shell & ball((64, 64, 64), (58, 32, 36), 15)
    return BinaryVolume.on_grid(shell & ~implant, (2, 2, 2)), BinaryVolume.on_grid(implant, (2, 2, 2))


def test_paint_shows_from_its_side_and_hides_behind_bone() -> None:
    whole = ball((40, 40, 40), (20, 20, 20), 15)
    left_part = whole & (np.indices(whole.shape)[0] > 28)
    assert look(whole, left_part, azimuth_deg=90).paint.max() > 0.9
    assert look(whole, left_part, azimuth_deg=-90).paint.max() == 0
    front = look(whole, left_part, azimuth_deg=0).paint > 0.5
    assert front[:, 40:].any(), "seen from the front, the patient's left is at the picture's right"
    assert not front[:, :30].any()


def test_a_ball_covers_the_pixels_of_a_disc_from_any_side() -> None:
    whole = ball((40, 40, 40), (20, 20, 20), 15)
    for azimuth, elevation in [(0, 0), (33, 20), (90, 0), (200, -40), (0, 90)]:
        view = look(whole, np.zeros_like(whole), azimuth, elevation)
        radius = 60 / 1.06 / 2
        assert view.hit.sum() == pytest.approx(np.pi * radius**2, rel=0.1)
        np.testing.assert_allclose(np.argwhere(view.hit).mean(axis=0), 29.5, atol=1.0)


def test_light_falls_from_above() -> None:
    view = look(ball((40, 40, 40), (20, 20, 20), 15), np.zeros((40, 40, 40), dtype=bool), azimuth_deg=0)
    assert view.light[15, 30] > 1.3 * view.light[48, 30]


def test_the_bottom_of_a_well_is_darker_than_its_rim() -> None:
    block = np.zeros((50, 50, 50), dtype=bool)
    block[5:45, 5:45, 5:45] = True
    block[20:30, 5:25, 20:30] = False
    view = look(block, np.zeros_like(block), azimuth_deg=0)
    assert view.light[30, 30] < 0.8 * view.light[30, 12]


def test_a_plate_one_cell_thick_is_not_lost() -> None:
    plate = np.zeros((30, 30, 30), dtype=bool)
    plate[5:25, 15, 5:25] = True
    assert look(plate, np.zeros_like(plate), azimuth_deg=0).hit.mean() == pytest.approx(1 / 1.06**2, rel=0.05)
    assert plate.astype(np.float32).max() > SURFACE


def blue(picture: np.ndarray) -> np.ndarray:
    """Pixels of the implant's colour."""
    red, green, sky = np.moveaxis(picture.astype(int), -1, 0)
    return (sky > red + 60) & (sky > green + 15)


def test_picture_shows_the_implant_only_where_it_is(skull: tuple[BinaryVolume, BinaryVolume], tmp_path: Path) -> None:
    render_implant(*skull, tmp_path / "implant.png", title="A ball")
    picture = np.asarray(Image.open(tmp_path / "implant.png"))
    assert picture.shape[1:] == (WIDTH, 3)
    large = blue(picture[60:680])
    assert not large[:, : WIDTH // 2].any(), "the defective skull is drawn without its implant"
    assert large[:, WIDTH // 2 :].mean() > 0.03
    row = picture[720:950]
    views = [blue(row[:, start : start + WIDTH // 6]).any() for start in range(0, WIDTH, WIDTH // 6)]
    assert views == [True] * 6


def test_subject_does_not_depend_on_the_order_of_axes(skull: tuple[BinaryVolume, BinaryVolume]) -> None:
    one = Subject.of(*skull)
    other = Subject.of(*(BinaryVolume(volume.mask.transpose(1, 2, 0), volume.affine[:, [1, 2, 0, 3]]) for volume in skull))
    np.testing.assert_array_equal(one.bone, other.bone)
    np.testing.assert_array_equal(one.implant, other.implant)


def test_an_empty_implant_is_drawn_as_nothing(skull: tuple[BinaryVolume, BinaryVolume], tmp_path: Path) -> None:
    defective, _ = skull
    render_implant(defective, defective.like(np.zeros_like(defective.mask)), tmp_path / "none.png")
    assert not blue(np.asarray(Image.open(tmp_path / "none.png"))).any()


def test_what_cannot_be_drawn_is_refused(skull: tuple[BinaryVolume, BinaryVolume], tmp_path: Path) -> None:
    defective, implant = skull
    empty = defective.like(np.zeros_like(defective.mask))
    with pytest.raises(ValueError, match="empty"):
        render_implant(empty, implant, tmp_path / "no.png")
    with pytest.raises(ValueError, match="grid"):
        render_implant(defective, BinaryVolume.on_grid(implant.mask, (1, 1, 1)), tmp_path / "no.png")
