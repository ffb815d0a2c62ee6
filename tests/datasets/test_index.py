"""A data set and its index: made going on where it stopped, by one program at a time, with no failure lost."""

import os

import numpy as np
import pytest

from calvaria.datasets.index import DataSet, read_index
from calvaria.datasets.prepare import Recipe, plan, prepare
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read, read_image, write
from calvaria.volume import BinaryVolume
from tests.datasets.converted import ct, make
from tests.full_disk import no_file_above


def test_one_bad_file_is_a_row_and_the_rest_is_made(folder, tmp_path, complete, monkeypatch):
    write(folder / "good.nrrd", complete)
    (folder / "cut.nrrd").write_bytes((folder / "good.nrrd").read_bytes()[:-20])
    (folder / "text.nii").write_text("hello")
    ct(folder, "mri.nrrd", np.random.default_rng(0).integers(0, 900, (9, 9, 9)).astype("i2"))
    ct(folder, "air.nrrd", np.random.default_rng(0).integers(-1000, -900, (9, 9, 9)).astype("i2"))
    (folder / "bad.obj").write_text("f 1 2 3")
    rows = make(folder, tmp_path / "out", Recipe(meshes=(30,)))
    assert {name: row.error for name, row in rows.items()} == {
        "native/good.nrrd": "",
        "native/cut.nrrd": "truncated",
        "native/text.nrrd": "not-a-volume",
        "native/mri.nrrd": "not-hounsfield",
        "native/air.nrrd": "empty-mask",
        "30/bad.nrrd": "not-a-volume",
    }
    assert "send the file again" in rows["native/cut.nrrd"].message


def test_what_is_no_refusal_is_a_row_too(folder, tmp_path, complete, monkeypatch):
    write(folder / "a.nrrd", complete)
    write(folder / "b.nrrd", complete)
    whole = read_image

    def fails(path):
        if path.name == "a.nrrd":
            raise MemoryError
        return whole(path)

    monkeypatch.setattr("calvaria.datasets.prepare.read_image", fails)
    assert [row.error for row in make(folder, tmp_path / "out").values()] == ["out-of-memory", ""]


def test_a_run_goes_on_where_it_stopped(folder, tmp_path, complete, monkeypatch):
    for name in "abc":
        write(folder / f"{name}.nrrd", complete)
    (folder / "b.nrrd").write_bytes(b"")
    out, opened = tmp_path / "out", []
    whole = read_image
    monkeypatch.setattr("calvaria.datasets.prepare.read_image", lambda path: opened.append(path.name) or whole(path))

    recipe, dataset = Recipe(), DataSet(out, {})
    work = prepare(folder, dataset, plan(folder, out, recipe), recipe)
    next(work), next(work)
    del work, dataset  # killed after two of three
    with (out / "index.csv").open("a") as file:
        file.write("native/c.nrrd,c.nrrd,ma")  # a line that was not finished
    write(folder / "b.nrrd", complete)
    opened.clear()
    rows = make(folder, out)
    assert opened == ["b.nrrd", "c.nrrd"]
    assert [(row.name, row.error) for row in rows.values()] == [(f"native/{name}.nrrd", "") for name in "abc"]

    opened.clear()
    assert make(folder, out) == rows
    assert opened == []

    write(folder / "a.nrrd", complete.like(~complete.mask))
    later = (out / "native/a.nrrd").stat().st_mtime + 5
    os.utime(folder / "a.nrrd", (later, later))
    (out / "native/c.nrrd").unlink()
    assert make(folder, out)["native/a.nrrd"].occupied == (~complete.mask).sum()
    assert opened == ["a.nrrd", "c.nrrd"]


def test_nothing_unfinished_is_left(folder, tmp_path, complete, monkeypatch):
    write(folder / "a.nrrd", complete)
    monkeypatch.setattr("calvaria.io.codec.encode", lambda volume, format: bytes(2**20))
    with no_file_above(2**16):
        (row,) = make(folder, tmp_path / "out").values()
    assert row.error == "bad-option"
    assert "cannot be written" in row.message
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {"index.csv", "settings.json"}


def test_sources_that_become_one_file_are_told(folder, tmp_path, complete):
    write(folder / "a.nrrd", complete)
    write(folder / "a.nii", complete)
    make(folder, tmp_path / "out")
    make(folder, tmp_path / "out")
    first, second = read_index(tmp_path / "out")
    assert (first.source, first.error, second.source, second.error) == ("a.nii", "", "a.nrrd", "bad-option")
    assert "rename one" in second.message


def test_a_file_that_would_take_the_place_of_anothers_is_told_in_a_later_run_too(folder, tmp_path, complete, defective):
    write(folder / "a.nrrd", complete)
    make(folder, tmp_path / "out")
    write(folder / "a.nii", defective)
    for _ in range(2):
        make(folder, tmp_path / "out")
        made, refused = read_index(tmp_path / "out")
        assert (made.source, made.error, made.occupied) == ("a.nii", "", defective.occupied)
        assert (refused.source, refused.error) == ("a.nrrd", "bad-option")
        assert "a.nii becomes the same file" in refused.message
        assert read(tmp_path / "out/native/a.nrrd").volume.occupied == defective.occupied


def test_a_source_that_is_gone_leaves_the_index(folder, tmp_path, complete):
    write(folder / "a.nrrd", complete)
    write(folder / "b.nrrd", complete)
    make(folder, tmp_path / "out")
    (folder / "a.nrrd").rename(folder / "a.nii.gz")
    assert [row.source for row in make(folder, tmp_path / "out").values()] == ["a.nii.gz", "b.nrrd"]


def test_no_file_stays_of_a_source_that_fails_now_and_those_of_one_that_is_gone_are_told(folder, tmp_path, complete, caplog):
    for name in "abc":
        write(folder / f"{name}.nrrd", complete)
    make(folder, tmp_path / "out")
    (tmp_path / "out/native/mine.nrrd").write_text("of someone else")
    (folder / "a.nrrd").unlink()
    (folder / "b.nrrd").write_text("no volume any more")
    make(folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/native").iterdir()) == ["a.nrrd", "c.nrrd", "mine.nrrd"]
    assert "1 files of sources that are gone stay (native/a.nrrd)" in caplog.text


def test_one_program_at_a_time_fills_a_folder(tmp_path, complete):
    first = DataSet(tmp_path, {})
    with pytest.raises(CalvariaError, match="Another program fills") as refused:
        DataSet(tmp_path, {})
    assert refused.value.code is ErrorCode.BAD_OPTION
    first.add(complete, "a.nrrd", "a", "mask")
    del first, refused
    assert list(DataSet(tmp_path, {}).rows) == [("a.nrrd", "a")]


def test_a_file_that_takes_anothers_place_is_converted_whatever_its_time(folder, tmp_path, complete):
    made = DataSet(tmp_path / "out", {})
    source, other = tmp_path / "a.nrrd", tmp_path / "b.nrrd"
    for path, count in ((other, 2), (source, 1)):
        mask = np.zeros((4, 4, 4), np.bool_)
        mask[:count] = True
        write(path, BinaryVolume.on_grid(mask, (1.0, 1.0, 1.0)))
    made.add(read(source).volume, "a.nrrd", "a.nrrd", "mask", files=[source])
    assert made.has("a.nrrd", "a.nrrd", [source])
    other.replace(source)
    os.utime(source, (0, 0))
    assert not made.has("a.nrrd", "a.nrrd", [source])


def test_a_folder_that_is_no_such_data_set_is_refused(tmp_path):
    DataSet(tmp_path / "out", {"hu": 300})
    with pytest.raises(CalvariaError, match="choose another --out"):
        DataSet(tmp_path / "out", {"hu": 200})
    (tmp_path / "file").write_text("")
    with pytest.raises(CalvariaError, match="cannot be written"):
        DataSet(tmp_path / "file", {})
    with pytest.raises(CalvariaError, match="cannot be read as an index"):
        read_index(tmp_path)
    (tmp_path / "index.csv").write_text("colour,size\nred,3\n")
    with pytest.raises(CalvariaError, match="cannot be read as an index"):
        read_index(tmp_path)
