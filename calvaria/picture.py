"""A picture of a defective skull and its implant, that shows at once what was missing and what fills it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from calvaria.geometry import Field, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.raycast import Camera, Scene, Vector, View, render
from calvaria.volume import BinaryVolume

Pixels = NDArray[np.float32]  # [height, width, 3], linear light, 0 to 1

CELL_MM = 1.0
BORDER_CELLS = 4
SMOOTHING_CELLS = 0.8

WIDTH, LARGE_HEIGHT, SMALL_HEIGHT, TITLE_HEIGHT, CAPTION_HEIGHT = 1500, 620, 250, 60, 36
OVERSAMPLING = 4 / 3

BONE = 0.80, 0.70, 0.54
IMPLANT = 0.02, 0.30, 0.62
BACKGROUND = 0.012, 0.015, 0.020
INK, FAINT_INK = (236, 238, 240), (150, 158, 166)


@dataclass(frozen=True, eq=False)
class Subject:
    """A skull and its implant on one isotropic grid, axes left, posterior, superior: share of each cell, float32 [x, y, z]."""

    bone: Field
    implant: Field

    @classmethod
    def of(cls, defective: BinaryVolume, implant: BinaryVolume) -> "Subject":
        if not defective.same_grid(implant):
            raise ValueError("the implant must lie on the defective skull's grid")
        skull = to_canonical(defective)
        piece = to_canonical(implant)
        whole = BinaryVolume(skull.mask | piece.mask, skull.affine)
        grid = WorkingGrid.over(whole, CELL_MM, margin_mm=0)
        return cls(*(np.pad(grid.coarsen(mask), BORDER_CELLS) for mask in (skull.mask, piece.mask)))

    def focus(self) -> Vector:
        """The middle of the implant, or of the skull where there is none, cells."""
        return np.array(ndimage.center_of_mass(self.implant if self.implant.any() else self.bone), np.float32)

    def scene(self, worn: bool = True) -> Scene:
        """What a camera sees: the skull, smoothed, wearing its implant or not."""
        bone, piece = (ndimage.gaussian_filter(share, SMOOTHING_CELLS) for share in (self.bone, self.implant))
        return Scene.of(bone + piece, piece) if worn else Scene.of(bone, np.zeros_like(bone))


def render_implant(defective: BinaryVolume, implant: BinaryVolume, path: Path, title: str | None = None) -> None:
    """Write a PNG: the skull without and with its implant, seen from the implant's side, from around, and in slices.

    Both volumes lie on one grid, of any orientation; an empty implant is drawn as nothing. ValueError for an empty skull.
    """
    if defective.occupied == 0:
        raise ValueError("there is no skull to draw: the mask is empty")
    draw(Subject.of(defective, implant), title).save(path)


def draw(subject: Subject, title: str | None = None) -> Image.Image:
    """The picture itself, RGB, WIDTH pixels wide."""
    before, after = subject.scene(worn=False), subject.scene()
    azimuth, elevation = viewpoint(subject)
    side, side_azimuth = ("Left side", 90.0) if azimuth >= 0 else ("Right side", -90.0)
    large = WIDTH // 2, LARGE_HEIGHT
    small = WIDTH // 6, SMALL_HEIGHT
    shots = [
        _Shot("Defective skull", before, azimuth, elevation, large),
        _Shot("With the implant", after, azimuth, elevation, large),
        _Shot("Front", after, 0.0, 0.0, small),
        _Shot(side, after, side_azimuth, 0.0, small),
        _Shot("Top", after, 0.0, 90.0, small),
    ]
    with ThreadPoolExecutor() as threads:  # numpy and scipy let go of the interpreter lock
        pictures = [(shot.caption, pixels) for shot, pixels in zip(shots, threads.map(_photograph, shots), strict=True)]
    page = _Page(title or "Skull and implant")
    page.add_row(pictures[:2], LARGE_HEIGHT)
    page.add_row(pictures[2:] + _slices(subject, *small), SMALL_HEIGHT)
    return page.image


@dataclass(frozen=True, eq=False)
class _Shot:
    caption: str
    scene: Scene
    azimuth_deg: float
    elevation_deg: float
    size: tuple[int, int]  # width, height, pixels


def viewpoint(subject: Subject) -> tuple[float, float]:
    """Azimuth and elevation, degrees, from which the implant is seen best without losing sight of the face."""
    if not subject.implant.any():
        return 40.0, 15.0
    x, y, z = subject.focus() - np.array(subject.bone.shape) / 2
    azimuth = np.degrees(np.arctan2(x, -y)) * 0.85
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return float(azimuth), float(np.clip(elevation, 8, 55))


def photograph(subject: Subject, azimuth_deg: float, elevation_deg: float, size: tuple[int, int]) -> Image.Image:
    """A skull wearing its implant, from one side; `size` is width and height in pixels."""
    shot = _Shot("", subject.scene(), azimuth_deg, elevation_deg, size)
    return Image.fromarray(to_srgb(_photograph(shot)))


def _photograph(shot: _Shot) -> Pixels:
    width, height = shot.size
    camera = Camera.framing(shot.scene, shot.azimuth_deg, shot.elevation_deg, width / height)
    view = render(shot.scene, camera, round(width * OVERSAMPLING), round(height * OVERSAMPLING))
    return _shrunk(_coloured(view), width, height)


def _coloured(view: View) -> Pixels:
    sharp = ((view.paint - 0.5) * 3 + 0.5).clip(0, 1)[..., None]
    lit = (np.array(BONE) * (1 - sharp) + np.array(IMPLANT) * sharp) * view.light[..., None]
    return np.where(view.hit[..., None], lit, np.array(BACKGROUND)).astype(np.float32)


def _slices(subject: Subject, width: int, height: int) -> list[tuple[str, Pixels]]:
    """The axial, coronal and sagittal slices that show most of the implant; patient's right at the left, as radiologists look at them."""
    shown = subject.implant if subject.implant.any() else subject.bone
    i, j, k = (int(shown.sum(axis=others).argmax()) for others in ((1, 2), (0, 2), (0, 1)))
    cuts: dict[str, tuple[int | slice, ...]] = {
        "Axial": (slice(None), slice(None), k),
        "Coronal": (slice(None), j, slice(None, None, -1)),
        "Sagittal": (i, slice(None), slice(None, None, -1)),
    }
    return [(name, _slice(subject.bone[cut].T, subject.implant[cut].T, width, height)) for name, cut in cuts.items()]


def _slice(bone: Field, implant: Field, width: int, height: int) -> Pixels:
    scale = 0.94 * min(height / bone.shape[0], width / bone.shape[1])
    size = round(bone.shape[1] * scale), round(bone.shape[0] * scale)
    bone, implant = (np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BICUBIC)).clip(0, 1) for share in (bone, implant))
    canvas = np.broadcast_to(np.array(BACKGROUND, np.float32), (height, width, 3)).copy()
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    rest = (1 - bone - implant).clip(0, 1)[..., None]
    painted = bone[..., None] * np.array(BONE) + 1.4 * implant[..., None] * np.array(IMPLANT)
    canvas[top : top + size[1], left : left + size[0]] = painted + rest * np.array(BACKGROUND)
    return canvas


class _Page:
    """An image that is filled row by row with captioned pictures."""

    def __init__(self, title: str):
        height = TITLE_HEIGHT + LARGE_HEIGHT + SMALL_HEIGHT + 2 * CAPTION_HEIGHT
        self.image = Image.new("RGB", (WIDTH, height), tuple(to_srgb(np.array(BACKGROUND, np.float32))))
        self._brush = ImageDraw.Draw(self.image)
        self._top = TITLE_HEIGHT
        self._write(title, WIDTH // 2, TITLE_HEIGHT // 2, 30, INK)

    def add_row(self, pictures: list[tuple[str, Pixels]], height: int) -> None:
        each = WIDTH // len(pictures)
        for place, (caption, pixels) in enumerate(pictures):
            self.image.paste(Image.fromarray(to_srgb(pixels)), (place * each, self._top))
            self._write(caption, place * each + each // 2, self._top + height + CAPTION_HEIGHT // 2 - 4, 20, FAINT_INK)
        self._top += height + CAPTION_HEIGHT

    def _write(self, text: str, x: int, y: int, size: int, ink: tuple[int, int, int]) -> None:
        self._brush.text((x, y), text, fill=ink, anchor="mm", font=ImageFont.load_default(size))


def _shrunk(pixels: Pixels, width: int, height: int) -> Pixels:
    channels = [Image.fromarray(pixels[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def to_srgb(linear: Pixels) -> NDArray[np.uint8]:
    """The sRGB transfer curve (IEC 61966-2-1), 8 bits."""
    value = linear.clip(0, 1)
    curve = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)  # type: ignore[no-any-return]
