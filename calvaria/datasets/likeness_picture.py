"""Skulls to compare by eye: a row each, in the same slices and from the same sides, all at one scale and hung by their tops."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from calvaria.geometry import Field, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.picture import BACKGROUND, BONE, BORDER_CELLS, CELL_MM, FAINT_INK, INK, SMOOTHING_CELLS, to_srgb
from calvaria.raycast import Camera, Scene, render
from calvaria.volume import BinaryVolume

PIXELS_PER_MM = 1.5
PIXELS_PER_CELL = PIXELS_PER_MM * CELL_MM
OVERSAMPLING = 2

AXIAL_MM = 60
"""How far below the top of the bone the axial slice lies."""
FRONT_LEFT, LEFT = (40.0, 15.0), (90.0, 0.0)
"""Azimuth and elevation of the renders, degrees."""
VIEWS = f"Axial, {AXIAL_MM} mm below the top", "Coronal, in the middle", "Sagittal, in the middle", "From the front left", "From the left"

GAP, HEADING, CAPTION, FOOT = 28, 52, 30, 44  # pixels
SCALE_MM = 50


def sheet(skulls: Mapping[str, BinaryVolume]) -> Image.Image:
    """The picture, RGB: skulls by name (at least one), of any orientation and spacing, each holding some bone, in `VIEWS`.

    The patient's right is at the left of axial and coronal slices, the face at the left of sagittal ones.
    """
    rows = [_views(skull) for skull in skulls.values()]
    widths = [max(view.width for view in column) + GAP for column in zip(*rows, strict=True)]
    heights = [CAPTION + max(view.height for view in row) + GAP for row in rows]
    lefts, tops = GAP + np.cumsum([0, *widths]), HEADING + np.cumsum([0, *heights])
    page = Image.new("RGB", (int(lefts[-1]), int(tops[-1]) + FOOT), tuple(to_srgb(np.array(BACKGROUND, np.float32)).tolist()))
    brush = ImageDraw.Draw(page)
    small, large = ImageFont.load_default(16), ImageFont.load_default(18)
    for heading, left, width in zip(VIEWS, lefts, widths, strict=False):
        brush.text((left + (width - GAP) / 2, HEADING / 2), heading, INK, small, anchor="mm")
    for name, row, top in zip(skulls, rows, tops, strict=False):
        brush.text((GAP, top), name, FAINT_INK, large)
        for view, left, width in zip(row, lefts, widths, strict=False):
            page.paste(view, (int(left) + (width - GAP - view.width) // 2, int(top) + CAPTION))
    level, end = page.height - FOOT / 2, GAP + SCALE_MM * PIXELS_PER_MM
    brush.line((GAP, level, end, level), INK, width=3)
    brush.text((end + 12, level), f"{SCALE_MM} mm", INK, small, anchor="lm")
    return page


def _views(skull: BinaryVolume) -> list[Image.Image]:
    """A skull in `VIEWS`, each cut out to what it shows."""
    upright = to_canonical(skull).volume
    bone = WorkingGrid.over(upright, CELL_MM, margin_mm=0).coarsen(upright.mask)
    x, y, z = *(count // 2 for count in bone.shape[:2]), max(bone.shape[2] - 1 - round(AXIAL_MM / CELL_MM), 0)
    solid = ndimage.gaussian_filter(np.pad(bone, BORDER_CELLS), SMOOTHING_CELLS)
    scene = Scene.of(solid, np.zeros_like(solid))
    slices = bone[:, :, z], bone[:, y, ::-1], bone[x, :, ::-1]
    return [*(_slice(share.T) for share in slices), *(_photograph(scene, *side) for side in (FRONT_LEFT, LEFT))]


def _slice(share: Field) -> Image.Image:
    """A plane of cells [down, across], each as bright as it is full."""
    height, width = (round(count * PIXELS_PER_CELL) for count in share.shape)
    smooth = np.asarray(Image.fromarray(share).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    return _picture(smooth, smooth)


def _photograph(scene: Scene, azimuth_deg: float, elevation_deg: float) -> Image.Image:
    camera = Camera.framing(scene, azimuth_deg, elevation_deg, aspect=1.0)
    across = round(camera.cells * PIXELS_PER_CELL * OVERSAMPLING)
    view = render(scene, camera, across, across)
    return _picture(view.light, view.hit.astype(np.float32)).reduce(OVERSAMPLING)


def _picture(light: Field, cover: Field) -> Image.Image:
    """Bone of some brightness that hides a share of the background, both [down, across]; without empty edges."""
    lit = light[..., None] * np.array(BONE) + (1 - cover[..., None]) * np.array(BACKGROUND)
    return Image.fromarray(to_srgb(lit.astype(np.float32))).crop(Image.fromarray(cover > 0.1).getbbox())
