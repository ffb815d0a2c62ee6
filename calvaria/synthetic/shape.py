"""What differs from head to head: sizes, proportions, pose and the extent of the scan, drawn from a seed.

The head's own frame has x left, y posterior, z superior in mm; its origin lies in the middle of the brain case, halfway
between forehead and occiput. Lengths span what adults and, in some heads, children have. How asymmetric and how uneven heads
are (`warp_mm`, `thickness_noise`) was set after `calvaria.datasets.likeness` had found them nearly three times as asymmetric
as the one real head at hand; nothing else was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.synthetic.chance import Part, generator


@dataclass(frozen=True)
class HeadShape:
    """One head. Lengths in mm, in the head's frame."""

    length: float  # of the brain case, forehead to occiput
    width: float
    height: float  # centre to vertex
    depth: float  # centre to the underside of the occiput
    exponents: tuple[float, float]  # of the superellipse: seen from above, and from the front
    side_walls: float  # its exponent below the widest level: how steeply the sides go down to the base
    widest_y: float  # where the head is widest
    frontal_taper: float  # how much narrower the forehead is, share of the width
    occipital_taper: float
    temple_pinch: float  # hollow behind the orbits
    vertex_shift: float  # how far back the highest point lies, share of the length
    forehead_slope: float
    bosses: tuple[float, float]  # frontal and parietal bossing
    occiput: tuple[float, float]  # bulge of the occiput (negative: flat), and how wide it is
    flat_side: float  # flattening at the back of one side; negative: of the right
    keel: float  # ridge along the midline of the vertex; negative: a furrow
    relief_mm: float  # amplitude of symmetric irregularities of the vault
    skew: float  # plagiocephaly: shear of y along x
    warp_mm: float  # standard deviation of the smooth asymmetric deformation
    thickness: float  # of the vault, its mean
    thickness_noise: float
    thick_ends: float  # how much thicker forehead and occiput are than the sides, share
    thin_temples: float  # share of thickness lost there
    thick_sides: float  # share by which one side is thicker than the other
    crest: tuple[float, float]  # height of the frontal and occipital inner crests
    sinus: float  # size of the frontal sinus, 0 none
    base: float  # size of skull base and face relative to the average head
    face_length: float  # relative height of the face
    diploe: float  # how much marrow space opens within thick bone
    roughness_mm: float  # thresholding noise of the surface
    lumps_mm: float  # unevenness of the surface, over some mm
    erosion_mm: float  # how much bone the threshold loses where it loses most
    threshold_mm: float  # how much thicker the chosen threshold shows all bone
    jaw: bool
    rotation: NDArray[np.float64]  # [3, 3] head frame to patient frame
    centre_mm: NDArray[np.float64]  # [3] origin of the head's frame in patient space
    cut_z_mm: float  # patient z below which the scan saw nothing
    margins_mm: tuple[float, float, float, float, float]  # empty space left, right, front, back, above

    @property
    def face_scale(self) -> NDArray[np.float64]:
        """Scale of base and face along x, y, z relative to the average head of 144 x 180 mm."""
        return self.base * np.array([self.width / 144, self.length / 180, (self.height + self.depth) / 144])


def _rotation(pitch: float, roll: float, yaw: float) -> NDArray[np.float64]:
    """Rotation about x, then y, then z, radians, [3, 3]."""
    c, s = np.cos([pitch, roll, yaw]), np.sin([pitch, roll, yaw])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def draw_shape(seed: int) -> HeadShape:
    """The head of a seed."""
    rng = generator(seed, Part.SHAPE)

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def around(mean: float, deviation: float, reach: float = 2.0) -> float:
        return mean + deviation * float(np.clip(rng.standard_normal(), -reach, reach))

    child = rng.random() < 0.1
    grown = between(0.8, 0.95) if child else 1.0
    length = grown * around(180, 9, 2.3)
    width = float(np.clip(length * around(0.785, 0.055, 2.2), 126 * grown, 166 * grown))
    tilt = np.radians([around(0, 7), around(0, 3), around(0, 5)])
    extent = rng.choice(3, p=[0.4, 0.3, 0.3])  # brain case only, down to the upper jaw, whole head
    lowest = [between(-80, -48), between(-108, -76), between(-165, -108)][int(extent)]
    centre = rng.uniform(-60, 60, 3)
    odd = rng.random() < 0.2  # a side flattened by lying on it, or grown askew
    thick = between(3.2, 6.0) if child else float(np.clip(around(8.4, 2.0, 2.3), 4.0, 13.0))
    return HeadShape(
        length=length,
        width=width,
        height=grown * around(69, 5),
        depth=grown * around(72, 3),
        exponents=(between(2.05, 2.7), between(1.95, 2.6)),
        side_walls=between(2.2, 3.4),
        widest_y=between(5, 36),
        frontal_taper=between(0.06, 0.3),
        occipital_taper=between(0.0, 0.16),
        temple_pinch=between(1.0, 8.0),
        vertex_shift=between(-0.08, 0.17),
        forehead_slope=between(-0.05, 0.14),
        bosses=(between(-1.0, 4.5), between(-1.0, 5.5)),
        occiput=(between(-5, 9), between(22, 42)),
        flat_side=between(-9, 9) if odd else between(-2, 2),
        keel=between(-1.5, 2.5),
        relief_mm=between(0.2, 1.1),
        skew=around(0, 0.05 if odd else 0.02),
        warp_mm=0.3 * 9 ** between(0, 1),
        thickness=thick,
        thickness_noise=0.02 * 7.5 ** between(0, 1),
        thick_ends=between(-0.05, 0.35),
        thin_temples=between(0.4, 0.8),
        thick_sides=around(0, 0.05),
        crest=(between(0, 9), between(2, 8)),
        sinus=0.0 if child else float(max(0.0, around(0.75, 0.4))),
        base=grown * around(1.0, 0.04),
        face_length=(0.9 if child else 1.0) * around(1.0, 0.06),
        diploe=float(max(0.0, around(0.3, 0.5))),
        roughness_mm=0.015 * 12 ** between(0, 1),
        lumps_mm=0.25 * between(0, 1) ** 2,
        erosion_mm=min(0.9, 0.12 * thick) * between(0, 1) ** 2,
        threshold_mm=between(-0.3, 0.45),
        jaw=bool(rng.random() < 0.8),
        rotation=_rotation(*tilt),
        centre_mm=centre,
        cut_z_mm=float(centre[2] + lowest),
        margins_mm=(between(4, 35), between(4, 35), between(4, 25), between(4, 35), between(2, 25)),
    )
