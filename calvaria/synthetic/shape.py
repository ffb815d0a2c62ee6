"""What differs from head to head: sizes, proportions, pose and the extent of the scan, drawn from a seed.

The head's own frame has x left, y posterior, z superior in mm; its origin lies in the middle of the brain case, halfway
between forehead and occiput. Lengths span what adults have; nothing is fitted to a data set.
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
    widest_y: float  # where the head is widest
    frontal_taper: float  # how much narrower the forehead is, share of the width
    occipital_taper: float
    temple_pinch: float  # hollow behind the orbits
    vertex_shift: float  # how far back the highest point lies, share of the length
    forehead_slope: float
    bosses: tuple[float, float]  # frontal and parietal bossing
    occiput: float  # bulge of the occiput; negative: flat
    skew: float  # plagiocephaly: shear of y along x
    warp_mm: float  # standard deviation of the smooth asymmetric deformation
    thickness: float  # of the vault, its mean
    thickness_noise: float
    thick_ends: float  # how much thicker forehead and occiput are than the sides, share
    thin_temples: float  # share of thickness lost there
    crest: tuple[float, float]  # height of the frontal and occipital inner crests
    sinus: float  # size of the frontal sinus, 0 none
    base: float  # size of skull base and face relative to the average head
    face_length: float  # relative height of the face
    diploe: float  # how much marrow space opens within thick bone
    roughness_mm: float  # thresholding noise of the surface
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

    length = around(180, 8.5, 2.3)
    width = float(np.clip(length * around(0.785, 0.042), 126, 162))
    tilt = np.radians([around(0, 6), around(0, 2.5), around(0, 4)])
    extent = rng.choice(3, p=[0.4, 0.35, 0.25])  # brain case only, down to the upper jaw, whole head
    lowest = [between(-80, -48), between(-108, -76), between(-165, -108)][int(extent)]
    centre = rng.uniform(-60, 60, 3)
    return HeadShape(
        length=length,
        width=width,
        height=around(69, 4),
        depth=around(72, 3),
        exponents=(between(2.0, 2.4), between(1.95, 2.5)),
        widest_y=between(5, 30),
        frontal_taper=between(0.08, 0.24),
        occipital_taper=between(0.0, 0.12),
        temple_pinch=between(1.5, 6.5),
        vertex_shift=between(-0.04, 0.2),
        forehead_slope=between(-0.02, 0.14),
        bosses=(between(-0.5, 3.0), between(-0.5, 4.0)),
        occiput=between(-4, 6),
        skew=around(0, 0.02),
        warp_mm=between(0.8, 2.6),
        thickness=float(np.clip(around(6.6, 1.3), 4.0, 9.5)),
        thickness_noise=between(0.07, 0.2),
        thick_ends=between(0.0, 0.3),
        thin_temples=between(0.35, 0.68),
        crest=(between(0, 8), between(2, 8)),
        sinus=float(max(0.0, around(0.75, 0.4))),
        base=around(1.0, 0.04),
        face_length=around(1.0, 0.06),
        diploe=float(max(0.0, around(0.3, 0.5))),
        roughness_mm=between(0.04, 0.22),
        threshold_mm=between(-0.2, 0.45),
        jaw=bool(rng.random() < 0.8),
        rotation=_rotation(*tilt),
        centre_mm=centre,
        cut_z_mm=float(centre[2] + lowest),
        margins_mm=(between(4, 35), between(4, 35), between(4, 25), between(4, 35), between(2, 25)),
    )
