"""Meshes from files of other software, and from those that are none."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from calvaria.datasets.meshes import Grid, box_of, read_mesh
from calvaria.datasets.voxelise import voxelise
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.mesh import serialise, surface
from calvaria.volume import BinaryVolume


@pytest.fixture
def box() -> trimesh.Trimesh:
    return trimesh.creation.box(bounds=[[-10, -20, -30], [40, 50, 60]])


@pytest.mark.parametrize("name", ["a.stl", "a.STL", "a.obj", "a.ply", "ä b\n.ply"])
def test_each_format_gives_the_same_voxels(box, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(
        trimesh.exchange.export.export_mesh(box, None, file_type=name[-3:].lower())
        if name[-3:] != "obj"
        else box.export(file_type="obj").encode()
    )
    mesh = read_mesh(path)
    low, high = box_of(mesh)
    assert (low.tolist(), high.tolist()) == ([-10, -20, -30], [40, 50, 60])
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = [-13.75, -23.75, -33.75]  # edges of voxels lie on the box
    filled = voxelise(mesh, Grid((24, 32, 40), affine))
    assert filled.occupied * filled.voxel_mm3 == pytest.approx(50 * 70 * 90)
    assert "patient space" in mesh.warnings[0]


def test_a_mesh_in_ascii(box, tmp_path):
    (tmp_path / "a.stl").write_text(trimesh.exchange.stl.export_stl_ascii(box))
    assert len(read_mesh(tmp_path / "a.stl").faces) == 12


@pytest.mark.parametrize("binary", [False, True])
def test_text_in_latin_1_is_read(box, tmp_path, binary):
    word = "Schädel".encode("latin-1")
    (tmp_path / "a.obj").write_bytes(b"# " + word + b"\n" + box.export(file_type="obj").encode())
    stl = box.export(file_type="stl") if binary else trimesh.exchange.stl.export_stl_ascii(box).encode()
    (tmp_path / "a.stl").write_bytes(b"solid " + word + stl[13:] if binary else b"solid " + word + stl[stl.index(b"\n") :])
    ply = trimesh.exchange.ply.export_ply(box, encoding="binary" if binary else "ascii")
    (tmp_path / "a.ply").write_bytes(ply.replace(b"\nelement", b"\ncomment " + word + b"\nelement", 1))
    for suffix in ("obj", "stl", "ply"):
        low, high = box_of(read_mesh(tmp_path / f"a.{suffix}"))
        assert (low.tolist(), high.tolist()) == ([-10, -20, -30], [40, 50, 60])


def test_a_binary_stl_that_was_cut_short_is_told(box, tmp_path):
    (tmp_path / "a.stl").write_bytes(box.export(file_type="stl")[:400])
    with pytest.raises(CalvariaError, match=r"400 bytes, where a binary STL of 12 triangles has 684: it was cut short"):
        read_mesh(tmp_path / "a.stl")


def test_what_the_head_says_about_space_is_honoured(box, tmp_path):
    for space, expected in (("LPS", [-10, -20, -30]), ("RAS", [-40, -50, -30])):
        content = bytearray(box.export(file_type="stl"))
        content[:80] = f"3D Slicer output. SPACE={space}".encode().ljust(80)
        (tmp_path / "a.stl").write_bytes(content)
        mesh = read_mesh(tmp_path / "a.stl")
        assert box_of(mesh)[0].tolist() == expected
        assert not mesh.warnings


def test_the_surface_that_is_sent_is_read_back_in_its_place(tmp_path):
    mask = np.zeros((20, 30, 25), np.bool_)
    mask[5:15, 8:20, 4:21] = True
    volume = BinaryVolume(mask, np.array([[0, -1.5, 0, 7], [0.5, 0, 0, -40], [0, 0, 2, 100], [0, 0, 0, 1.0]]))
    (tmp_path / "sent.stl").write_bytes(serialise(surface(volume)))
    mesh = read_mesh(tmp_path / "sent.stl")
    assert not mesh.warnings
    back = voxelise(mesh, Grid(volume.shape, volume.affine))
    assert np.count_nonzero(back.mask ^ mask) < 0.03 * volume.occupied


def test_the_files_a_mesh_names_are_not_opened(box, tmp_path):
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd /etc/hostname\n")
    (tmp_path / "a.obj").write_text("mtllib secret.mtl\nusemtl a\n" + box.export(file_type="obj"))
    opened = []
    real = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.open", lambda name, *rest, **more: opened.append(str(name)) or real(Path(name), *rest, **more))
        assert len(read_mesh(tmp_path / "a.obj").faces) == 12
    assert not [name for name in opened if "secret" in name or "hostname" in name]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.stl", b"", ErrorCode.NOT_A_VOLUME),
        ("a.stl", b"solid nothing", ErrorCode.NOT_A_VOLUME),
        ("a.stl", bytes(80) + b"\xff\xff\xff\xff" + bytes(50), ErrorCode.NOT_A_VOLUME),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999\nend_header\n", ErrorCode.NOT_A_VOLUME),
        ("a.obj", b"v 1 2\nf 1 2 9\n", ErrorCode.NOT_A_VOLUME),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n", ErrorCode.BAD_GEOMETRY),
        ("a.obj", b"v 5 5 5\nv 5 5 5\nv 5 5 5\nf 1 2 3\n", ErrorCode.BAD_GEOMETRY),
        ("a.obj", b"v 0 0 0\nv 1e30 0 0\nv 0 1 0\nf 1 2 3\n", ErrorCode.BAD_GEOMETRY),
        ("a.nrrd", b"", ErrorCode.BAD_OPTION),
        (".stl", b"", ErrorCode.BAD_OPTION),
    ],
)
def test_what_is_no_mesh_is_refused(tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CalvariaError) as refusal:
        read_mesh(tmp_path / name)
    assert refusal.value.code is code
    assert name in refusal.value.message


def test_an_absent_mesh_is_refused(tmp_path):
    with pytest.raises(CalvariaError, match="cannot be read: No such file"):
        read_mesh(tmp_path / "a.stl")


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"ply\nformat ascii 1.0\n", b"v 1 2 3\n", b"solid a\n facet"]),
    st.sampled_from(["stl", "obj", "ply"]),
)
def test_no_bytes_raise_anything_but_a_refusal(tmp_path_factory, content, start, suffix):
    path = tmp_path_factory.mktemp("any") / f"a.{suffix}"
    path.write_bytes(start + content)
    with suppress(CalvariaError):
        read_mesh(path)


def test_a_mesh_in_metres_is_doubted(box, tmp_path):
    box.apply_scale(0.001)
    box.export(tmp_path / "a.stl")
    assert "another unit" in read_mesh(tmp_path / "a.stl").warnings[-1]
