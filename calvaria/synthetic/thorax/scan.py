"""A chest as a CT scanner would show it: an image in HU on any axis-aligned grid, from a seed.

Organs differ little from what lies beside them, as without a contrast agent, or much; veins, nodes and the lungs' vessels are there to be
mistaken for them. Borders are soft (partial volume), the image is blurred, noisy and streaked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Axis, Noise, interpolate
from calvaria.synthetic.sculpture import Point, Sculpture
from calvaria.synthetic.thorax.anatomy import ORGANS
from calvaria.synthetic.thorax.organs import Thorax

AIR, LUNG, FAT = -1000.0, -830.0, -95.0

VEINS: Sequence[Sequence[tuple[Point, float]]] = (
    [((-24, -32, 45), 8), ((-25, -32, -10), 9), ((-26, -32, -55), 10)],  # superior vena cava
    [((10, -50, -36), 13), ((30, -18, -24), 11), ((48, 2, -22), 8)],  # left pulmonary artery
    [((8, -48, -36), 12), ((-14, -22, -34), 10), ((-44, -8, -34), 8)],  # right pulmonary artery
    [((-27, -28, -104), 11), ((-26, -16, -150), 12)],  # inferior vena cava
    [((-8, 24, -150), 4), ((-9, 24, 0), 4.5), ((-18, 4, 12), 4.5)],  # azygos vein
)
"""Vessels outside the organs: points and radii, mm, in the average chest's frame."""

SPINE_MM = 0.0, 46.0, 17.0
"""The spine: its middle (x, y) and its radius, mm."""

CAGE_MM = 125.0, -25.0, 92.0
"""The ribs' inner side: half its width (x), its middle (y) and half its depth, mm."""

DIAPHRAGM_MM = -120.0

CASED = 0.7
"""Share of the bodies that lie in bone, as a brain does."""


@dataclass(frozen=True)
class _Look:
    """How one scan looks. HU, mm."""

    blood: float
    muscle: float
    liver: float
    heart_contrast: float  # how much its muscle differs from blood
    clearance_mm: float  # between organs and lungs
    blur: float  # standard deviation, voxels
    noise: float
    streaks: float
    gas: float  # the oesophagus holds air where noise of unit deviation lies below this

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Look":
        contrast = rng.random() < 0.5
        blood = rng.uniform(110, 260) if contrast else rng.uniform(35, 50)
        return cls(
            float(blood),
            float(rng.uniform(40, 60)),
            float(rng.uniform(55, 110)),
            float(rng.uniform(0.1, 0.6) * (blood - 45)),
            float(rng.uniform(2.5, 7)),
            float(rng.uniform(0.4, 0.9)),
            float(rng.uniform(12, 45)),
            float(rng.uniform(0, 35)),
            float(rng.uniform(-1.2, 0.6)),
        )


def scan(thorax: Thorax, axes_mm: Sequence[Axis], seed: int) -> Field:
    """The image on the grid with these coordinates (patient mm), float32 [X, Y, Z], HU. Its noise depends on the grid."""
    rng = generator(seed, Part.SCAN)
    look = _Look.draw(rng)
    voxel_mm = float(np.mean([axis[1] - axis[0] for axis in axes_mm]))
    places = thorax.space.lattice.matrices(axes_mm)
    x, y, z = (interpolate(places, along) for along in (thorax.space.x, thorax.space.y, thorax.space.z))
    organs = {organ: interpolate(places, thorax.distances[organ]) for organ in ORGANS}
    image = _background(x, y, z, organs, look, rng, axes_mm, voxel_mm)
    _paint(image, interpolate(places, _veins(thorax)), look.blood * 0.95, voxel_mm)
    _organs(image, organs, look, rng, axes_mm, voxel_mm)
    return _seen(image, x, y, look, rng)


def scan_body(depth_mm: Field, axes_mm: Sequence[Axis], seed: int) -> Field:
    """An image of a body of no organ, given by its signed distance (negative inside), among others of nearly its brightness, HU."""
    rng = generator(seed, Part.SCAN)
    look = _Look.draw(rng)
    voxel_mm = float(np.mean([axis[1] - axis[0] for axis in axes_mm]))
    around, others = Noise(rng, rng.uniform(8, 30)).on(axes_mm), Noise(rng, 14.0).on(axes_mm)
    value, beside = rng.uniform(-60, 250), rng.uniform(-150, 120)
    image = np.float32(beside) + np.float32(rng.uniform(5, 30)) * around
    _paint(image, (np.float32(0.8) - others) * 8, value + float(rng.normal(0, 25)), voxel_mm)
    if rng.random() < CASED:
        _case(image, depth_mm, Noise(rng, 18.0).on(axes_mm), rng, voxel_mm)
    _paint(image, depth_mm, value, voxel_mm)
    x, y, _ = np.ix_(*axes_mm)
    return _seen(image, x, y, look, rng)


def _case(image: Field, depth_mm: Field, holes: Field, rng: np.random.Generator, voxel_mm: float) -> None:
    """Around a body: liquid or fat, a shell of bone with holes in it, and perhaps a skin, and air beyond."""
    gap, bone = float(rng.uniform(0, 6)), float(rng.uniform(2, 9))
    skin = gap + bone + float(rng.uniform(3, 20))
    if rng.random() < 0.5:
        _paint(image, skin - depth_mm, AIR, voxel_mm)
    _paint(image, depth_mm - gap, float(rng.uniform(-100, 20)), voxel_mm)
    shell = np.maximum.reduce([depth_mm - (gap + bone), gap - depth_mm, (holes - np.float32(rng.uniform(0.8, 3))) * 6])
    _paint(image, shell, float(rng.uniform(300, 1400)), voxel_mm)


def _background(
    x: Field, y: Field, z: Field, organs: Mapping[str, Field], look: _Look, rng: np.random.Generator, axes: Sequence[Axis], voxel_mm: float
) -> Field:
    """Chest wall, spine, liver, lungs with their vessels, and fat with nodes in between."""
    texture, patches = Noise(rng, 9.0).on(axes), Noise(rng, 22.0).on(axes)
    near = np.minimum.reduce(list(organs.values()))
    image = np.full(x.shape, FAT, np.float32) + 12 * patches
    _paint(image, (np.float32(1.3) - texture) * 5, look.muscle * 0.8, voxel_mm)  # nodes, thymus, small vessels
    width, middle, depth = CAGE_MM
    wall = np.sqrt((x / np.float32(width)) ** 2 + ((y - np.float32(middle)) / np.float32(depth)) ** 2) * np.float32(depth) - depth
    half = 20 + 4 * patches
    lung = np.maximum.reduce([wall, look.clearance_mm + 2 * texture - near, half - np.abs(x), DIAPHRAGM_MM + 8 * patches - z])
    _paint(image, lung, LUNG, voxel_mm)
    _paint(image, np.maximum(lung + 4, (np.float32(1.7) - texture) * 5), look.blood, voxel_mm)
    under = z - (DIAPHRAGM_MM - 4 + 8 * patches)
    _paint(image, np.maximum(under, x - 20), look.liver, voxel_mm)
    _paint(image, -wall - 3, look.muscle, voxel_mm)
    along_x, along_y, radius = SPINE_MM
    spine = np.sqrt((x - np.float32(along_x)) ** 2 + (y - np.float32(along_y)) ** 2) - np.float32(radius)
    _paint(image, np.asarray(spine, np.float32), 220.0, voxel_mm)
    return image


def _veins(thorax: Thorax) -> Field:
    sculpture = Sculpture(thorax.space, mirrored=False)
    for rods in VEINS:
        sculpture.chain(rods)
    return sculpture.distance


def _organs(
    image: Field, organs: Mapping[str, Field], look: _Look, rng: np.random.Generator, axes: Sequence[Axis], voxel_mm: float
) -> None:
    chambers = Noise(rng, 26.0).on(axes).clip(-1, 1)
    muscle = np.asarray(look.blood - np.float32(look.heart_contrast) * (0.5 + 0.5 * chambers), np.float32)
    _paint(image, organs["heart"], muscle, voxel_mm)
    _paint(image, organs["aorta"], look.blood, voxel_mm)
    _paint(image, organs["oesophagus"], look.muscle - 8, voxel_mm)
    gas = np.maximum(organs["oesophagus"] + 3, (Noise(rng, 16.0).on(axes) - np.float32(look.gas)) * 6)
    _paint(image, gas, AIR, voxel_mm)
    _paint(image, organs["trachea"] - np.float32(1.2), look.muscle - 20, voxel_mm)
    _paint(image, organs["trachea"], AIR + 20, voxel_mm)


def _paint(image: Field, distance: Field, value: Field | float, voxel_mm: float) -> None:
    """Lay a value where a signed distance is negative; a voxel on the border has its share of it."""
    share = (np.float32(0.5) - distance / np.float32(voxel_mm)).clip(0, 1)
    image += share * (value - image)


def _seen(image: Field, x: Field, y: Field, look: _Look, rng: np.random.Generator) -> Field:
    """What the scanner makes of it: blur, noise with a grain, and streaks that fan out in each slice."""
    blurred: Field = ndimage.gaussian_filter(image, look.blur, truncate=3)
    grain: Field = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.6, 0.6, 0.3), truncate=3)
    blurred += grain * np.float32(look.noise / grain.std())
    fan = np.arctan2(y - rng.uniform(-60, 20), x - rng.uniform(-60, 60))
    rays = ndimage.gaussian_filter(rng.standard_normal((256, image.shape[2])), (1.5, 0), mode="wrap")
    column = ((fan + np.pi) * (256 / (2 * np.pi))).astype(np.intp) % 256
    blurred += np.float32(look.streaks / rays.std()) * rays.astype(np.float32)[column, np.arange(image.shape[2])]
    return blurred.clip(-1024, 1500)
