"""A human skull from a seed, as thresholding a head CT would give it."""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from calvaria.cores import one_blas_thread
from calvaria.geometry import Field
from calvaria.synthetic.base import floor_fields
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.face import Face, sculpt_face
from calvaria.synthetic.lattice import Axis, Lattice, Noise, interpolate
from calvaria.synthetic.sculpture import Space
from calvaria.synthetic.shape import HeadShape, draw_shape
from calvaria.synthetic.surgery import Surgery, operate
from calvaria.synthetic.vault import outer_surface, relief, thickness
from calvaria.volume import BinaryVolume, Mask

LATTICE_MM = 3.0
SLAB_VOXELS = 2_000_000
"""Voxels evaluated at once: what bounds memory."""
FACE_BELOW_MM = 6.0
"""Base and face lie below this height of the head's frame, tilt included."""
FACE_FRONT_MM = np.array([(0.0, -97.0, z) for z in range(-30, -140, -10)])
"""Places before nose and chin, from the nose's root down, in an average head's frame: how far forward a head that bends back reaches."""
FILLET_MM = 3.0
CRUMB_MM3 = 1500.0
"""Separate pieces of bone are kept from this size on: a loose flap, the lower jaw."""


@dataclass(frozen=True)
class _Vault:
    lattice: Lattice
    outer: Field
    bone: Field
    surgery: Surgery | None


@dataclass(frozen=True)
class _Lower:
    """Skull base and face: distances on a lattice of their own."""

    lattice: Lattice
    floor: Field
    floor_bone: Field
    septum: Field
    face: Face


@dataclass(frozen=True)
class _Texture:
    """Noise of a head: of the threshold, of the bone's surface, of marrow, of air cells, and of where marrow opens."""

    grain: Noise
    surface: Noise
    marrow: Noise
    cells: Noise
    region: Noise

    @classmethod
    def draw(cls, seed: int) -> "_Texture":
        rng = generator(seed, Part.TEXTURE)
        return cls(*(Noise(rng, grain) for grain in (1.3, 4.5, 2.2, 4.4, 22.0)))


def make_skull(seed: int, spacing_mm: float | tuple[float, float, float] = 1.0, shape: tuple[int, int, int] | None = None) -> BinaryVolume:
    """The skull of a seed on an axis-aligned grid (LPS).

    A head is a function of patient space: the same seed is the same head at every spacing, only the finest texture is lost on a coarse
    grid. `spacing_mm` is one number or (x, y, z). Without `shape` the grid holds the head with some air around it, as a scan does; with it,
    the grid has `shape` voxels, centred on the head from left to right and front to back, and its top is the scan's top.
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3)
    if not (spacing > 0).all():
        raise ValueError(f"spacing_mm must be positive, not {spacing_mm}")
    head = draw_shape(seed)
    axes, origin = _grid(head, spacing, shape)
    low, high = _extent(head)
    inside = [slice(*np.searchsorted(axis, (a, b))) for axis, a, b in zip(axes, low, high, strict=True)]
    mask = np.zeros([len(axis) for axis in axes], dtype=np.bool_)
    near = [axis[s].astype(np.float32) for axis, s in zip(axes, inside, strict=True)]
    if all(len(axis) for axis in near):
        with one_blas_thread():
            mask[tuple(inside)] = _without_crumbs(_bone(head, seed, near), CRUMB_MM3 / spacing.prod())
    sx, sy, sz = spacing.tolist()
    return BinaryVolume.on_grid(mask, (sx, sy, sz), (origin[0], origin[1], origin[2]))


def _extent(head: HeadShape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A box in patient space that holds all bone the scan saw."""
    reach = np.array([head.width / 2 + 9, head.length / 2 + 16, head.height + 9])
    low, high = head.centre_mm - reach, head.centre_mm + reach
    low[2] = head.cut_z_mm
    face = head.centre_mm + (FACE_FRONT_MM * [1, 1, head.face_length] * head.face_scale) @ head.rotation.T
    low[1] = min([low[1], *face[face[:, 2] > low[2], 1]])
    return low, high


def _grid(
    head: HeadShape, spacing: NDArray[np.float64], shape: tuple[int, int, int] | None
) -> tuple[list[NDArray[np.float64]], list[float]]:
    low, high = _extent(head)
    left, right, front, back, above = head.margins_mm
    low, high = low - [left, front, 0], high + np.array([right, back, above])
    counts = np.ceil((high - low) / spacing).astype(int) if shape is None else np.asarray(shape)
    centre, half = (low + high) / 2, (counts - 1) / 2 * spacing
    origin = centre - half
    origin[2] = low[2] + spacing[2] / 2 if shape is None else high[2] - (counts[2] - 0.5) * spacing[2]
    return [o + s * np.arange(n) for o, s, n in zip(origin, spacing, counts, strict=True)], origin.tolist()


def _without_crumbs(mask: Mask, crumb: float) -> Mask:
    """Pieces of more than `crumb` voxels."""
    return np.asarray(cc3d.dust(mask, threshold=int(crumb), connectivity=26), dtype=np.bool_)


def _bone(head: HeadShape, seed: int, axes: list[Axis]) -> Mask:
    """Bone on a grid given by the coordinates along x, y, z, patient mm; slab by slab along x."""
    low, high = [float(a[0]) for a in axes], [float(a[-1]) for a in axes]
    vault = _vault_fields(head, seed, Lattice.over(low, high, LATTICE_MM))
    top = min(high[2], float(head.centre_mm[2]) + FACE_BELOW_MM)
    split = int(np.searchsorted(axes[2], top))
    lower = _lower_fields(head, seed, Lattice.over(low, [high[0], high[1], top], LATTICE_MM)) if split else None
    texture = _Texture.draw(seed)
    mask = np.empty([len(a) for a in axes], dtype=np.bool_)
    slab = max(1, SLAB_VOXELS // (len(axes[1]) * len(axes[2])))
    for start in range(0, len(axes[0]), slab):
        rows = slice(start, start + slab)
        mask[rows] = _slab(head, [axes[0][rows], axes[1], axes[2]], split, vault, lower, texture)
    return mask


def _slab(head: HeadShape, axes: list[Axis], split: int, vault: _Vault, lower: _Lower | None, texture: _Texture) -> Mask:
    """Depth below the surface of bone, positive inside, then its sign."""
    places = vault.lattice.matrices(axes)
    outer, bone = interpolate(places, vault.outer), interpolate(places, vault.bone)
    if vault.surgery:
        outer += interpolate(places, vault.surgery.shift)
    region = texture.region.on(axes)
    rough = np.float32(head.roughness_mm) * texture.grain.on(axes) * (1 + region.clip(0, 2))
    uneven = texture.surface.on(axes)
    rough += np.float32(head.lumps_mm) * uneven
    rough -= np.float32(head.erosion_mm) * (-region - np.float32(0.4)).clip(0, 1) * (np.float32(0.4) + np.abs(uneven))
    under = outer + bone  # positive: still within the bone's thickness
    depth = np.minimum(-outer, under)
    if lower is not None:
        depth[..., :split] = _base_and_face([axes[0], axes[1], axes[2][:split]], outer[..., :split], under[..., :split], lower, texture)
    depth += rough + np.float32(head.threshold_mm)
    open_marrow = (texture.marrow.on(axes) - 4.2 + np.float32(head.diploe) * (1 + region)) * np.float32(1.2)
    np.minimum(depth, np.maximum(-open_marrow, np.float32(1.4) - depth), out=depth)
    if vault.surgery:
        saw = np.abs(interpolate(places, vault.surgery.inside)) - interpolate(places, vault.surgery.gap)
        np.minimum(depth, saw, out=depth)
    return np.asarray(depth > 0)


def _base_and_face(axes: list[Axis], outer: Field, under: Field, lower: _Lower, texture: _Texture) -> Field:
    places = lower.lattice.matrices(axes)
    floor, floor_bone = interpolate(places, lower.floor), interpolate(places, lower.floor_bone)
    depth = np.minimum(np.minimum(-outer, floor + floor_bone), np.maximum(under, -floor))
    face = lower.face
    np.minimum(depth, np.maximum(interpolate(places, face.frontal), 1.7 - depth), out=depth)
    depth = _fused(depth, -interpolate(places, face.solid))
    foam = np.minimum(-interpolate(places, face.cells), (np.abs(texture.cells.on(axes)) - 0.2) * np.float32(2.2))
    np.minimum(depth, -foam, out=depth)
    for hollow in (face.orbits, face.sinuses, face.holes):
        np.minimum(depth, interpolate(places, hollow), out=depth)
    septum = np.float32(0.9) - np.abs(interpolate(places, lower.septum))
    return np.asarray(np.minimum(depth, np.maximum(interpolate(places, face.nose), septum)))


def _fused(a: Field, b: Field) -> Field:
    """The union of two solids given by depth, with a fillet where they meet."""
    near = (np.float32(FILLET_MM) - np.abs(a - b)).clip(0, None)
    return np.asarray(np.maximum(a, b) + near * near * np.float32(0.25 / FILLET_MM))


def _head_frame(head: HeadShape, seed: int, lattice: Lattice) -> tuple[Field, Field, Field]:
    """Every node's place in the head's frame, mm, gently deformed so that no head is symmetric."""
    x, y, z = np.ix_(*lattice.axes_mm())
    rng = generator(seed, Part.DEFORMATION)
    bends = [Noise(rng, 55.0) for _ in range(3)]
    x, y, z = (v - np.float32(c) for v, c in zip((x, y, z), head.centre_mm, strict=True))
    turn = head.rotation.T.astype(np.float32)
    a, b, c = (
        row[0] * x + row[1] * y + row[2] * z + np.float32(head.warp_mm) * bend.on(lattice.axes_mm())
        for row, bend in zip(turn, bends, strict=True)
    )
    return a, b, c


def _vault_fields(head: HeadShape, seed: int, lattice: Lattice) -> _Vault:
    place = _head_frame(head, seed, lattice)
    rng = generator(seed, Part.VAULT)
    waves, patches = Noise(rng, 24.0), Noise(rng, 13.0)
    axes = lattice.axes_mm()
    outer = (
        outer_surface(head, *place) - np.float32(head.relief_mm) * relief(seed, *place) + np.float32(0.17 * head.warp_mm) * waves.on(axes)
    )
    bone = thickness(head, *place) * (1 + np.float32(head.thickness_noise) * patches.on(axes))
    return _Vault(lattice, outer, np.maximum(bone, np.float32(1.2)), operate(seed, *place))


def _lower_fields(head: HeadShape, seed: int, lattice: Lattice) -> _Lower:
    scale = head.face_scale
    x, y, z = (v / np.float32(s) for v, s in zip(_head_frame(head, seed, lattice), scale, strict=True))
    z = np.where(z < -35, -35 + (z + 35) / np.float32(head.face_length), z)
    to_patient = np.column_stack([head.rotation * scale, head.centre_mm])
    space = Space(lattice, x, y, z, to_patient)
    floor, floor_bone = floor_fields(seed, x, y, z)
    bend = Noise(generator(seed, Part.SEPTUM), 18.0)
    return _Lower(lattice, floor, floor_bone, x + np.float32(1.0) * bend.on(lattice.axes_mm()), sculpt_face(head, seed, space))
