"""How like a real skull generated ones are: the same measurements of the given skull and of generated ones, side by side.

Directions are seen from the middle of the brain case (`VaultMap`): azimuth 0 is the face, 180 the occiput; elevation 90 is up.
Shown by `python tools/likeness.py FILE`, and drawn with `--picture OUT.png`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy import ndimage
from scipy.spatial import KDTree

from calvaria.datasets.stats import STRIDES, sites_by_stride
from calvaria.geometry import to_canonical
from calvaria.grid import WorkingGrid
from calvaria.synthetic.vault_map import VaultMap
from calvaria.tasks.components import components
from calvaria.vault.bent import ALIKE, bend, surface
from calvaria.vault.cavity import direction
from calvaria.vault.mirrored import Reflection, between, fit_mirror, in_patient, normal_of
from calvaria.volume import Affine, BinaryVolume

Reals = NDArray[np.float64]

REGIONS = {
    "frontal": ((0, 35), (15, 55)),
    "temple": ((50, 80), (-5, 15)),
    "temporal": ((80, 120), (-5, 15)),
    "parietal": ((60, 140), (35, 70)),
    "vertex": ((0, 180), (70, 88)),
    "occipital": ((150, 180), (-5, 40)),
}
"""Regions of the vault, on both sides: ranges of azimuth and of elevation, degrees."""

RAY_DEG = 1.5
STEP_MM = 0.4
NEAR_MM, FAR_MM = 35.0, 130.0
DEEPEST_MM = 25.0
"""Bone further below the outermost belongs to something else than the vault."""
THIN_MM = 2.0
CURVATURE_MM = 3.0
ROUGHNESS_RAYS = 2.5
"""Deviation of the Gaussian, in rays, that tells roughness from shape: about 5 mm on the vault."""
LUMP_RAYS = 10.0
"""Deviation of the Gaussian, in rays, that tells lumps from thick bone: about 2 cm."""
MIRROR_MM = 3.0
BENT_MM = 1.0
LOWEST_DEG = 10.0
"""Elevation, degrees, above which the vault is compared with its mirror image."""


@dataclass(frozen=True)
class Measurement:
    """One measurement: of the given skull, and over generated ones the 5th percentile, the median and the 95th."""

    name: str
    given: float
    low: float
    median: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the given skull lies outside what nine of ten generated ones have."""
        return not self.low <= self.given <= self.high


@dataclass(frozen=True, eq=False)
class _Rays:
    """The vault along rays: by azimuth [240] and elevation, thickness (0: open) and outermost radius (NaN: open), mm."""

    azimuth: Reals
    elevation: Reals
    thickness: Reals
    outermost: Reals

    @classmethod
    def through(cls, skull: BinaryVolume) -> "_Rays":
        azimuth, elevation = np.arange(-180, 180, RAY_DEG), np.arange(-5, 88, RAY_DEG)
        ways = direction(azimuth[:, None], elevation)
        radii = np.arange(NEAR_MM, FAR_MM, STEP_MM)
        to_voxel = np.linalg.inv(skull.affine)
        start = to_voxel[:3, :3] @ VaultMap.of(skull).centre_mm + to_voxel[:3, 3]
        places = start + (ways @ to_voxel[:3, :3].T)[..., None, :] * radii[:, None]
        bone = ndimage.map_coordinates(skull.mask.view(np.uint8), np.moveaxis(places, -1, 0), order=0) > 0
        last = len(radii) - 1 - bone[..., ::-1].argmax(axis=-1)
        outermost = np.where(bone.any(axis=-1), radii[last], np.nan)
        vault = bone & (radii > outermost[..., None] - DEEPEST_MM)
        return cls(azimuth, elevation, vault.sum(axis=-1) * STEP_MM, outermost)

    def region(self, azimuth: tuple[float, float], elevation: tuple[float, float]) -> NDArray[np.bool_]:
        a, e = np.abs(self.azimuth)[:, None], self.elevation[None, :]
        return (azimuth[0] <= a) & (a <= azimuth[1]) & (elevation[0] <= e) & (e <= elevation[1])


def measurements(skull: BinaryVolume) -> dict[str, float]:
    """Named measurements of a skull, of any orientation, that holds some bone. A name tells its unit; NaN: nothing to measure."""
    upright = to_canonical(skull).volume
    rays = _Rays.through(upright)
    found = _occupancy(upright) | _extent(upright) | _thickness(rays) | _holes(rays)
    return found | _surface(rays) | _curvature(rays) | _lumps(rays) | _asymmetry(upright)


def likeness(given: BinaryVolume, generated: Iterable[BinaryVolume]) -> list[Measurement]:
    """The measurements of a skull beside those of generated skulls (at least one), which should have about its spacing."""
    others = [measurements(skull) for skull in generated]
    if not others:
        raise ValueError("there is no generated skull to compare with")
    rows = []
    for name, value in measurements(given).items():
        low, median, high = np.nanpercentile([other[name] for other in others], (5, 50, 95)).tolist()
        rows.append(Measurement(name, value, low, median, high))
    return rows


def table(rows: Iterable[Measurement], title: str) -> Table:
    """A table for the terminal; what differs is marked."""
    shown = Table(title=title)
    shown.add_column("measurement", no_wrap=True)
    for heading in ("given", "5 %", "median", "95 %", ""):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        numbers = (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" for value in (row.given, row.low, row.median, row.high))
        shown.add_row(row.name, *numbers, "differs" if row.differs else "")
    return shown


def _occupancy(skull: BinaryVolume) -> dict[str, float]:
    """Shares that do not depend on how large the head is: each stride's sites against the next one's."""
    sites = sites_by_stride(skull.mask)
    ratios = {f"sites at stride {a} for each at {b}": x / y for a, b, x, y in zip(STRIDES, STRIDES[1:], sites, sites[1:], strict=False)}
    return {"occupied, % of the grid": 100 * skull.occupied / skull.mask.size} | ratios


def _extent(skull: BinaryVolume) -> dict[str, float]:
    """Size of the brain case and of what the scan holds, and how much of it the lowest slice cuts through."""
    voxels = np.argwhere(skull.mask)
    places = voxels @ skull.affine[:3, :3].T + skull.affine[:3, 3]
    top = places[:, 2].max()
    upper = places[(places[:, 2] < top - 15) & (places[:, 2] > top - 75)]
    width, length = np.ptp(np.percentile(upper if len(upper) else places, [0.2, 99.8], axis=0)[:, :2], axis=0)
    lowest = skull.mask[:, :, voxels[:, 2].min()]
    pieces = components(skull.mask)[1][1:]
    return {
        "length of the brain case, mm": float(length),
        "width over length": float(width / length),
        "height of the scan's bone, mm": float(np.ptp(places[:, 2])),
        "bone in the lowest slice, cm²": float(lowest.sum() * np.prod(skull.spacing_mm[:2]) / 100),
        "pieces": float(len(pieces)),
        "bone outside the largest piece, %": float(100 * (1 - pieces.max() / skull.occupied)),
    }


def _thickness(rays: _Rays) -> dict[str, float]:
    found = {}
    for name, ranges in REGIONS.items():
        bone = rays.thickness[rays.region(*ranges)]
        bone = bone[bone > 0]
        tenth, median, ninety = np.percentile(bone, (10, 50, 90)) if len(bone) else (np.nan,) * 3
        found[f"thickness, {name}, mm"] = float(median)
        found[f"spread of thickness, {name}, mm"] = float(ninety - tenth)
    return found


def _holes(rays: _Rays) -> dict[str, float]:
    """What is open or thin, by solid angle, and how many separate openings there are, above the level of the ears."""
    above = rays.elevation >= 0
    weight = np.cos(np.radians(rays.elevation))[above] + np.zeros((len(rays.azimuth), 1))
    bone = rays.thickness[:, above]
    closed_ring = np.concatenate([bone == 0, bone[:1] == 0])  # so that an opening at the back of the head counts once
    openings = ndimage.label(closed_ring, np.ones((3, 3)))[0]
    return {
        "open directions, %": float(100 * weight[bone == 0].sum() / weight.sum()),
        f"bone under {THIN_MM:g} mm, %": float(100 * weight[(bone > 0) & (bone < THIN_MM)].sum() / weight.sum()),
        "openings": float(len(np.unique(openings[:-1])) - 1),
    }


def _surface(rays: _Rays) -> dict[str, float]:
    """Unevenness of the outer surface over a few mm: what is left when the shape is smoothed away."""
    level = (rays.elevation > 5) & (rays.elevation < 65)
    rest = np.abs(rays.outermost - _smoothed(rays.outermost))[:, level]
    rest = rest[np.isfinite(rest)]
    middle, most = np.percentile(rest, (50, 99)) if len(rest) else (np.nan, np.nan)
    return {"roughness, mm": float(1.4826 * middle), "steps (99th percentile), mm": float(most)}


def _curvature(rays: _Rays) -> dict[str, float]:
    """Mean curvature of the vault's smoothed outer surface: half the divergence of the normal of |p| - R(direction of p), on 3 mm cells."""
    radius = _smoothed(rays.outermost)
    half = int(FAR_MM / CURVATURE_MM)
    x, y, z = np.meshgrid(*[np.arange(-half, half + 1) * CURVATURE_MM] * 2, np.arange(0, half + 1) * CURVATURE_MM, indexing="ij")
    far = np.sqrt(x * x + y * y + z * z)
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    azimuth = np.degrees(np.arctan2(x, -y))
    places = np.stack([(azimuth + 180) / RAY_DEG, (elevation - rays.elevation[0]) / RAY_DEG])
    around = np.concatenate([radius, radius[:1]])
    beyond = far - ndimage.map_coordinates(around, places, order=1, mode="nearest")
    slope = np.stack(np.gradient(beyond, CURVATURE_MM))
    normal = slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-6)
    curvature = sum(np.gradient(normal[axis], CURVATURE_MM, axis=axis) for axis in range(3)) / 2
    values = curvature[(np.abs(beyond) < CURVATURE_MM) & (elevation > 12) & (elevation < 75)]
    tenth, median, ninety = np.percentile(values, (10, 50, 90))
    return {"curvature of the vault, 1/m": 1000 * float(median), "spread of its curvature, 1/m": 1000 * float(ninety - tenth)}


def _lumps(rays: _Rays) -> dict[str, float]:
    """Unevenness of the bone's thickness over 1 to 4 cm: how far the inner table is from following the outer one."""
    level = (rays.elevation > 10) & (rays.elevation < 65)
    thickness = np.where(rays.thickness > 0, rays.thickness, np.nan)
    rest = (_smoothed(thickness) - _smoothed(thickness, LUMP_RAYS))[:, level]
    return {"lumps, mm": float(1.4826 * np.median(np.abs(rest - np.median(rest))))}


def _asymmetry(skull: BinaryVolume) -> dict[str, float]:
    """How far the vault lies from its mirror image about the plane that lays the skull best upon itself."""
    grid = WorkingGrid.over(skull, MIRROR_MM, MIRROR_MM)
    fitted = fit_mirror(grid.coarsen(skull.mask), MIRROR_MM)
    return _straight(skull, in_patient(fitted, grid.affine)) | _bent(skull, fitted, grid)


def _straight(skull: BinaryVolume, reflection: Affine) -> dict[str, float]:
    """Distance of the outer surface from the mirror image as it is."""
    rays = _Rays.through(BinaryVolume(skull.mask, _upright(reflection) @ skull.affine))
    level = (rays.elevation > LOWEST_DEG) & (rays.elevation < 65)
    radius = _smoothed(rays.outermost)
    across = np.sin(np.radians(rays.azimuth))[:, None] * np.cos(np.radians(rays.elevation))
    other = radius[-np.arange(len(radius))]  # azimuths run from -180 degrees: the first is its own mirror image
    apart = (radius - other)[:, level]
    apart -= across[:, level] * (apart * across[:, level]).sum() / np.square(across[:, level]).sum()  # the rays start beside the plane
    return {"asymmetry of the vault, mm": float(1.4826 * np.median(np.abs(apart)))}


def _bent(skull: BinaryVolume, fitted: Reflection, coarse: WorkingGrid) -> dict[str, float]:
    """Distance of both tables from the bent mirror image, as completion's second network sees it. `fitted` is of `coarse` cells."""
    grid = WorkingGrid.over(skull, BENT_MM, MIRROR_MM)
    share = grid.coarsen(skull.mask)
    image = bend(share, BENT_MM, between(fitted, coarse, grid))
    points, normals = surface(share, BENT_MM)
    outwards = points / BENT_MM @ grid.affine[:3, :3].T + grid.affine[:3, 3] - VaultMap.of(skull).centre_mm
    vault = outwards[:, 2] > np.tan(np.radians(LOWEST_DEG)) * np.hypot(*outwards[:, :2].T)
    opposite = image.opposite(points[vault].T).T
    nearest = KDTree(points).query(opposite)[1]
    paired = ((normals[vault] @ image.reflection[0].T) * normals[nearest]).sum(axis=1) > ALIKE
    apart = np.abs(((opposite - points[nearest]) * normals[nearest]).sum(axis=1))
    outer = (normals[vault] * outwards[vault]).sum(axis=1) > 0
    tables = {"outer": outer, "inner": ~outer}
    found = {name: apart[paired & chosen] for name, chosen in tables.items()}
    return {f"{name} table from its bent mirror image, mm": float(each.mean()) if len(each) else np.nan for name, each in found.items()}


def _upright(reflection: Affine) -> Affine:
    """The rotation of patient space that lays the normal of a reflection's plane along x, float64 [4, 4]."""
    normal = normal_of(reflection[:3, :3])
    back = np.cross([0.0, 0.0, 1.0], normal)
    back /= np.linalg.norm(back)
    turned = np.eye(4)
    turned[:3, :3] = normal, back, np.cross(normal, back)
    return turned


def _smoothed(outermost: Reals, rays: float = ROUGHNESS_RAYS) -> Reals:
    """The outer surface without its unevenness; openings are filled from around them."""
    seen = np.isfinite(outermost)
    modes = ("wrap", "nearest")
    weight = ndimage.gaussian_filter(seen.astype(np.float64), rays, mode=modes)
    mean = ndimage.gaussian_filter(np.where(seen, outermost, 0), rays, mode=modes) / np.maximum(weight, 1e-9)
    return np.where(weight > 1e-3, mean, np.nanmedian(outermost))
