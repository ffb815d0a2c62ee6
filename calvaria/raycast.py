"""Shaded orthographic views of a smooth field, by casting rays in numpy: no OpenGL, no display.

Lengths and positions are in cells of the scene's isotropic grid, whose axes run left, posterior and superior.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import Field

Points = NDArray[np.float32]  # [N, 3]
Vector = NDArray[np.float32]  # [3]

SURFACE = 0.4  # share of a smoothed cell that counts as solid: below a half, so that plates one cell thick stay whole
SLOPE_SMOOTHING = 1.2
STEP = 0.5  # along a ray, near a surface
UNCERTAIN = 1.9  # a surface may be this much nearer than the distance map says: rounding (√3/2), and it lies before solid cells (1)
ROOM_AROUND = 1.06  # a picture's height over what it shows
OCCLUSION_REACH = 3.0, 7.0, 14.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Something solid to look at.

    solid     float32 [x, y, z], smoothed occupancy; its surface is where it crosses SURFACE
    paint     float32 [x, y, z]: how much of what is solid wears the second colour, between 0 and `solid`
    slope     float32 [x, y, z], smoothed once more: its gradient shows the form of a surface without the steps of its voxels
    distance  float32 [x, y, z]: from each cell to the nearest solid one
    """

    solid: Field
    paint: Field
    slope: Field
    distance: Field

    @classmethod
    def of(cls, solid: Field, paint: Field) -> "Scene":
        distance = ndimage.distance_transform_edt(solid < SURFACE).astype(np.float32)
        return cls(solid, paint, ndimage.gaussian_filter(solid, SLOPE_SMOOTHING), distance)


@dataclass(frozen=True, eq=False)
class Camera:
    """An orthographic camera far away in direction `toward`.

    toward  unit vector from the scene to the camera
    right   unit vector along a row of the picture
    up      unit vector up a column
    centre  what lies in the middle of the picture, cells
    cells   height of the picture, cells
    """

    toward: Vector
    right: Vector
    up: Vector
    centre: Vector
    cells: float

    @classmethod
    def framing(cls, scene: Scene, azimuth_deg: float, elevation_deg: float, aspect: float) -> "Camera":
        """All of a scene, in a picture `aspect` times as wide as high.

        It is seen from an angle about the superior axis, 0 in front of the face and 90 at its left, and an angle above the horizon.
        """
        azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
        level = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        superior = np.array([0.0, 0.0, 1.0])
        toward = np.cos(elevation) * level + np.sin(elevation) * superior
        up = np.cos(elevation) * superior - np.sin(elevation) * level
        right = np.cross(up, toward)
        frame = np.stack([right, up, toward])
        seen = np.argwhere(scene.solid >= min(SURFACE, scene.solid.max())).astype(np.float32) @ frame.T.astype(np.float32)
        low, high = seen.min(axis=0) - 0.5, seen.max(axis=0) + 0.5
        width, height, _ = high - low
        cells = ROOM_AROUND * max(height, width / aspect)
        right, up, toward, centre = (*frame.astype(np.float32), ((low + high) / 2 @ frame).astype(np.float32))
        return cls(toward, right, up, centre, float(cells))

    def origins(self, width: int, height: int, distance: float) -> Points:
        """Where the rays of the pixels, row by row, start: `distance` cells before the centre."""
        cell = self.cells / height
        across = ((np.arange(width, dtype=np.float32) + 0.5) - width / 2) * cell
        down = ((np.arange(height, dtype=np.float32) + 0.5) - height / 2) * cell
        plane = across[None, :, None] * self.right - down[:, None, None] * self.up
        return (plane + self.centre + distance * self.toward).reshape(-1, 3).astype(np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees, pixel by pixel [height, width].

    hit    whether there is a surface
    paint  0 to 1, how much of the surface wears the second colour
    light  0 to 1 and above, how brightly it is lit
    """

    hit: NDArray[np.bool_]
    paint: Field
    light: Field


def render(scene: Scene, camera: Camera, width: int, height: int) -> View:
    """Look at a scene."""
    reach = float(np.linalg.norm(scene.solid.shape))
    origins = camera.origins(width, height, reach)
    depths = _cast(scene, origins, -camera.toward)
    hit = np.isfinite(depths)
    points = origins[hit] - depths[hit, None] * camera.toward
    normals = _normals(scene.slope, points, camera.toward)
    paint, light = np.zeros(len(origins), np.float32), np.zeros(len(origins), np.float32)
    inside = points - 0.7 * normals
    paint[hit] = (_sample(scene.paint, inside) / np.maximum(_sample(scene.solid, inside), 1e-3)).clip(0, 1)
    light[hit] = _light(normals, camera) * _openness(scene, points, normals)
    shape = height, width
    return View(hit.reshape(shape), paint.reshape(shape), light.reshape(shape))


def _cast(scene: Scene, origins: Points, along: Vector) -> Field:
    """Depth of the first surface on each ray; infinite where there is none. Empty space is crossed in strides."""
    depths = np.full(len(origins), np.inf, np.float32)
    enter, leave = _span_in_box(origins, along, scene.solid.shape)
    rays = np.flatnonzero(enter < leave)
    at, before, step = enter[rays], np.zeros(len(rays), np.float32), np.zeros(len(rays), np.float32)
    while rays.size:
        points = origins[rays] + at[:, None] * along
        room = _nearest(scene.distance, points)
        near = room < UNCERTAIN
        value = np.zeros(len(rays), np.float32)
        value[near] = _sample(scene.solid, points[near])
        found = value >= SURFACE
        too_far = (value[found] - SURFACE) / np.maximum(value[found] - before[found], 1e-6)
        depths[rays[found]] = at[found] - step[found] * too_far
        step = np.maximum(room - UNCERTAIN, STEP)
        at = at + step
        going = ~found & (at < leave[rays])
        rays, at, before, step = rays[going], at[going], value[going], step[going]
    return depths


def _span_in_box(origins: Points, along: Vector, shape: tuple[int, ...]) -> tuple[Field, Field]:
    """Between which depths each ray lies inside the grid."""
    safe = np.where(np.abs(along) < 1e-6, np.float32(1e-6), along)
    low, high = -origins / safe, (np.array(shape, np.float32) - 1 - origins) / safe
    enter: Field = np.minimum(low, high).max(axis=1).clip(min=0)
    leave: Field = np.maximum(low, high).min(axis=1)
    return enter, leave


def _normals(field: Field, points: Points, toward: Vector) -> Points:
    """Outward unit normals: against the gradient of the field, over two cells; the camera's direction where it vanishes."""
    steps = np.eye(3, dtype=np.float32)
    slopes = np.stack([_sample(field, points - step) - _sample(field, points + step) for step in steps], axis=1)
    lengths = np.linalg.norm(slopes, axis=1, keepdims=True)
    normals: Points = np.where(lengths > 1e-4, slopes / np.maximum(lengths, 1e-4), toward)
    return normals


def _light(normals: Points, camera: Camera) -> Field:
    """Lambert's law for a key light above the viewer's left shoulder and a weak one at the right, and light from the sky."""
    key = 0.72 * camera.toward + 0.55 * camera.up - 0.42 * camera.right
    fill = 0.5 * camera.toward - 0.2 * camera.up + 0.84 * camera.right
    lit = 0.72 * (normals @ key).clip(min=0) + 0.16 * (normals @ fill).clip(min=0)
    light: Field = (lit + 0.14 + 0.08 * (normals @ camera.up)).astype(np.float32)
    return light


def _openness(scene: Scene, points: Points, normals: Points) -> Field:
    """How much of its surroundings a surface sees, 0 to 1: the free space on its normal, against what a plane would have."""
    closed = np.zeros(len(points), np.float32)
    for reach in OCCLUSION_REACH:
        free = _sample(scene.distance, points + reach * normals, outside=reach)
        closed += (1 - free / reach).clip(0, 1) / len(OCCLUSION_REACH)
    return 1 - 0.85 * closed


def _sample(field: Field, points: Points, outside: float = 0.0) -> Field:
    """Linear interpolation between cell centres, and `outside` beyond them."""
    values: Field = ndimage.map_coordinates(field, points.T, order=1, mode="constant", cval=outside, prefilter=False)
    return values


def _nearest(field: Field, points: Points) -> Field:
    """The value of the cell that holds each point, or of the nearest at the border."""
    index = (points + 0.5).astype(np.int32).clip(0, np.array(field.shape, np.int32) - 1)
    values: Field = field[index[:, 0], index[:, 1], index[:, 2]]
    return values
