"""`calvaria prepare`: folders of anything to data sets of masks."""

import gc
import os
import weakref

import nrrd
import numpy as np
import pytest
import trimesh

from calvaria.datasets import pairs
from calvaria.datasets.index import DataSet, read_index
from calvaria.datasets.masks import mask_pairs
from calvaria.datasets.meshes import Grid, box_of, read_mesh
from calvaria.datasets.prepare import Recipe, plan, prepare
from calvaria.datasets.series import counts_at, resampled
from calvaria.datasets.voxelise import voxelise
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read, read_image, write
from calvaria.threshold import threshold
from tests.datasets.converted import ct, make


def test_ct_masks_and_meshes_become_masks_with_an_index(folder, tmp_path, complete):
    samples = np.where(complete.mask, 900, -1000).astype("i2")
    samples[0, 0, 0] = 2000
    scan = ct(folder, "scans/a b.nrrd", samples)
    write(folder / "mask.nii.gz", complete)
    trimesh.creation.icosphere(3, radius=60.0).export(folder / "ball.stl")
    rows = make(folder, tmp_path / "out")
    assert set(rows) == {"native/scans/a b.nrrd", "native/mask.nrrd", *(f"{n}/ball.nrrd" for n in (30, 60, 90, 120))}
    bone = read(tmp_path / "out/native/scans/a b.nrrd").volume
    assert np.array_equal(bone.mask, threshold(read_image(scan), 300).mask)
    assert bone.spacing_mm == (1, 1, 2)
    ball = read_mesh(folder / "ball.stl")
    assert np.array_equal(read(tmp_path / "out/60/ball.nrrd").volume.mask, voxelise(ball, Grid.cube(box_of(ball), 60)).mask)
    assert {name: row.kind for name, row in rows.items() if "ball" not in name} == {
        "native/scans/a b.nrrd": "ct",
        "native/mask.nrrd": "mask",
    }
    for name, row in rows.items():
        volume = read(tmp_path / "out" / name).volume
        assert row.shape == " ".join(map(str, volume.shape))
        assert row.occupied == volume.occupied
        assert row.spacing_mm == " ".join(f"{mm:.9g}" for mm in volume.spacing_mm)
        assert not row.error


def test_each_resolution_keeps_the_layout(lay, tmp_path):
    source = lay("defective_skull/a/1.nrrd", "complete_skull/1.nrrd", "implant/a/1.nrrd")
    make(source, tmp_path / "out", Recipe(resolutions=(8, 16)))
    for resolution in (8, 16):
        ((small, truth), ((original, piece))) = (pairs(where)[0].read() for where in (tmp_path / f"out/{resolution}", source))
        assert np.array_equal(small.mask, resampled(original, counts_at(original, resolution)).mask)
        assert np.array_equal(truth.mask, resampled(piece, counts_at(piece, resolution)).mask)
    assert small.shape == (14, 16, 12)


@pytest.mark.parametrize("inside", ["", "data/of meshes"])
def test_the_meshes_of_a_skull_share_a_grid(folder, tmp_path, inside):
    source, folder = folder, folder / inside
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    whole = trimesh.creation.box((80, 90, 100))
    for name, mesh in (
        ("a/complete.stl", whole),
        ("a/defective.ply", trimesh.creation.box((40, 40, 40))),
        ("b/defective.stl", whole),
        ("b/implant.stl", whole),
    ):
        mesh.export(folder / name)
    make(source, tmp_path / "out", Recipe(meshes=(30,)))
    defective, implant = pairs(tmp_path / "out/30" / inside)[0].read()
    assert defective.same_grid(implant)
    assert (implant.occupied + defective.occupied) * implant.voxel_mm3 == pytest.approx(80 * 90 * 100, rel=0.08)


def test_one_volume_at_a_time_is_in_memory(folder, tmp_path, complete, monkeypatch):
    for name in "abcd":
        ct(folder, f"{name}.nrrd", np.where(complete.mask, 900, -1000).astype("i2"))
    whole, seen, alive = read_image, [], []

    def watched(path):
        gc.collect()
        alive.append(sum(samples() is not None for samples in seen))
        image = whole(path)
        seen.append(weakref.ref(image))
        return image

    monkeypatch.setattr("calvaria.datasets.prepare.read_image", watched)
    assert len(make(folder, tmp_path / "out", Recipe(resolutions=(8, 16)))) == 8
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["-rf", "a,b", 'quo"te', "new\nline", "ünï", "x" * 200, "$(id)", "nul\\", "surr\udcff"])
def test_hostile_names_survive(folder, tmp_path, complete, name):
    source = folder / name / f"{name}.nrrd"
    try:
        source.parent.mkdir()
        write(source, complete)
    except (OSError, UnicodeError):
        pytest.skip("this file system refuses the name")
    rows = make(folder, tmp_path / "out")
    assert list(rows) == [f"native/{name}/{name}.nrrd"]
    assert read(tmp_path / "out/native" / name / f"{name}.nrrd").volume.occupied == complete.occupied
    assert make(folder, tmp_path / "out") == rows


def test_the_data_set_may_lie_in_the_folder_and_is_not_taken_for_a_source(folder, complete):
    write(folder / "a.nrrd", complete)
    first = make(folder, folder / "out")
    assert make(folder, folder / "out") == first
    assert list(first) == ["native/a.nrrd"]


def test_a_link_to_a_folder_above_is_not_followed_and_one_beside_is(folder, tmp_path, complete):
    (folder / "a").mkdir()
    (folder / "a/loop").symlink_to(folder)
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere/x.nrrd", complete)
    (folder / "a/beside").symlink_to(tmp_path / "elsewhere")
    assert list(make(folder, tmp_path / "out")) == ["native/a/beside/x.nrrd"]


@pytest.mark.parametrize("suffix", ["nrrd", "stl"])
def test_links_that_go_in_a_circle_are_not_followed(folder, tmp_path, complete, suffix):
    for name, other in (("a", "b"), ("b", "a"), ("c", "."), ("d", ".")):
        (folder / name).mkdir()
        (folder / name / "link").symlink_to(folder / other)
    write(folder / f"a/x.{suffix}", complete)
    assert list(make(folder, tmp_path / "out", Recipe(resolutions=(8,), meshes=(8,)))) == ["8/a/x.nrrd", "8/b/link/x.nrrd"]


def test_a_data_set_may_lie_above_what_it_is_made_of_unless_it_would_overwrite_it(folder, complete):
    (folder / "raw/native").mkdir(parents=True)
    write(folder / "raw/native/a.nrrd", complete)
    assert list(make(folder / "raw", folder)) == ["native/native/a.nrrd"]
    with pytest.raises(CalvariaError, match=r"native/a\.nrrd is to be converted, and would be overwritten"):
        plan(folder / "raw/native", folder / "raw", Recipe())


def test_meshes_of_one_name_are_one_and_an_error(folder, tmp_path, complete, caplog):
    for name in ("a.stl", "b.stl"):
        write(folder / name, complete)
    trimesh.creation.box((40, 40, 40)).export(folder / "a.obj")
    write(folder / "c.nrrd", complete)
    make(folder, tmp_path / "out", Recipe(meshes=(8,)))
    assert "a.stl are both called 'a'" in caplog.text
    assert [(row.source, row.error) for row in read_index(tmp_path / "out")] == [
        ("a.obj", ""),
        ("a.stl", "bad-option"),
        ("b.stl", ""),
        ("c.nrrd", ""),
    ]


def test_a_resolution_finer_than_a_volume_is_its_row_alone(folder, tmp_path, complete):
    write(folder / "a.nrrd", complete)
    rows = make(folder, tmp_path / "out", Recipe(resolutions=(8, 64)))
    assert rows["8/a.nrrd"].error == ""
    assert rows["64/a.nrrd"].error == "bad-option"
    assert "16 voxels across a slice, fewer than the 64" in rows["64/a.nrrd"].message


def test_a_label_may_be_chosen(folder, tmp_path, complete):
    ct(folder, "labels.nrrd", (complete.mask * 300 + (np.indices(complete.shape).sum(axis=0) % 97)).astype("u2"))
    rows = make(folder, tmp_path / "out", Recipe(label=5))
    assert rows["native/labels.nrrd"].occupied == np.count_nonzero(~complete.mask & (np.indices(complete.shape).sum(axis=0) % 97 == 5))


def test_scans_beside_masks_are_taken_over_as_they_are(folder, tmp_path, complete, caplog):
    """They are what a refined mask is drawn in, and no skulls."""
    scan = ct(folder, "chests/scan/a.nrrd", np.where(complete.mask, 40, -900).astype("i2"))
    labels = np.where(complete.mask, 2, 0).astype("u1")
    labels[0, 0, 0] = 1
    for role in ("rough", "right"):
        ct(folder, f"chests/{role}/a.nrrd", labels)
    rows = make(folder, tmp_path / "out", Recipe(label=2))
    assert {row.name: row.kind for row in rows.values()} == {
        "native/chests/scan/a.nrrd": "scan",
        "native/chests/rough/a.nrrd": "mask",
        "native/chests/right/a.nrrd": "mask",
    }
    assert (tmp_path / "out/native/chests/scan/a.nrrd").read_bytes() == scan.read_bytes()
    assert rows["native/chests/scan/a.nrrd"].shape == rows["native/chests/rough/a.nrrd"].shape
    assert rows["native/chests/scan/a.nrrd"].spacing_mm == "1 1 2"
    (pair,) = mask_pairs(tmp_path / "out/native/chests")
    given, truth, image = pair.read()
    assert np.array_equal(given.mask, complete.mask)
    assert np.array_equal(truth.mask, complete.mask)
    assert set(np.unique(image)) == {-900, 40}
    assert set(make(folder, tmp_path / "small", Recipe(label=2, resolutions=(8,)))) == {"8/chests/rough/a.nrrd", "8/chests/right/a.nrrd"}
    assert "1 scans beside masks are left out" in caplog.text


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.arange(100, dtype="i2").reshape(4, 5, 5), "--label"),
        (np.linspace(0, 1, 100, dtype="f4").reshape(4, 5, 5), "look like probabilities"),
        (np.linspace(0, 1, 1000, dtype="f4").reshape(10, 10, 10), "look like probabilities"),
    ],
    ids=["labels", "few shares", "many shares"],
)
def test_what_is_neither_a_mask_nor_ct_is_told_as_it_is(folder, tmp_path, samples, said):
    ct(folder, "a.nrrd", samples)
    (row,) = make(folder, tmp_path / "out").values()
    assert row.error == "not-binary"
    assert said in row.message
    if "--label" not in said:
        return
    (row,) = make(folder, tmp_path / "shifted", Recipe(offset_hu=-1024)).values()
    assert row.error != "not-binary", "who says how samples become Hounsfield units says that they are CT"


def test_labels_that_are_taken_for_one_mask_are_told(folder, tmp_path, complete, caplog):
    labels = complete.mask.astype("u1")
    labels[:7] *= 2
    ct(folder, "labels.nrrd", labels)
    make(folder, tmp_path / "one", Recipe(label=2))
    assert "taken together" not in caplog.text
    assert make(folder, tmp_path / "both")["native/labels.nrrd"].occupied == complete.occupied
    assert "labels.nrrd: The values 1, 2 were taken together for one mask" in caplog.text


def test_what_cannot_be_begun_is_refused(folder, tmp_path):
    with pytest.raises(CalvariaError, match="nothing to convert") as refusal:
        plan(folder, tmp_path / "out", Recipe())
    assert refusal.value.code is ErrorCode.BAD_OPTION
    with pytest.raises(CalvariaError, match="Choose one of: nearest"):
        plan(folder, tmp_path / "out", Recipe(rule="linear"))


def test_a_folder_that_cannot_be_read_is_passed_over_and_told(folder, tmp_path, complete, caplog, monkeypatch):
    for name in ("a.nrrd", "lost+found/b.nrrd", "c/d.nrrd"):
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / name, complete)
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "lost+found")
    assert list(make(folder, tmp_path / "out")) == ["native/a.nrrd", "native/c/d.nrrd"]
    assert caplog.text.count("lost+found is passed over") == 1


def test_a_scan_without_a_sign_is_not_taken_for_labels(tmp_path, complete):
    values = np.random.default_rng(0).integers(0, 900, (16, 16, 16)).astype(np.int16)
    values[4:12, 4:12, 4:12] = 2000
    (tmp_path / "in").mkdir()
    nrrd.write(str(tmp_path / "in" / "ct.nrrd"), values)
    recipe = Recipe(hu=300.0, offset_hu=-1024.0, label=1)
    data = DataSet(tmp_path / "out", {})
    list(prepare(tmp_path / "in", data, plan(tmp_path / "in", tmp_path / "out", recipe), recipe))
    (row,) = data.rows.values()
    assert (row.kind, row.occupied, row.error) == ("ct", 512, "")


def test_a_folder_is_not_converted_into_itself(folder):
    with pytest.raises(CalvariaError, match="is the folder that is converted"):
        plan(folder, folder, Recipe())
