"""Files that cannot be read or written are refused by name; what is written is there whole or not at all."""

import os
from pathlib import Path

import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.files import LONGEST_NAME, check_apart, reading, replacing, shortened, write_file, writing


def test_a_refusal_names_the_file_the_reason_and_what_to_do(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "scan.nrrd"
    with pytest.raises(CalvariaError) as refused, reading(absent, "Name another."):
        absent.read_bytes()
    assert refused.value.code is ErrorCode.BAD_OPTION
    assert refused.value.message == f"{absent} cannot be read: No such file or directory. Name another."
    with pytest.raises(CalvariaError, match="cannot be written: No such file"), writing(absent):
        absent.write_bytes(b"")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), reading("any"), writing("any"):
        raise KeyError


def test_a_file_is_replaced_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_protected_file_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.nrrd"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(CalvariaError, match=r"mine\.nrrd cannot be written: it is write-protected"):
        write_file(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_what_is_no_file_keep_their_places(tmp_path: Path) -> None:
    path, link, pipe = tmp_path / "table.csv", tmp_path / "link.csv", tmp_path / "pipe"
    path.write_text("old")
    link.symlink_to(path)
    with replacing(link) as unfinished:
        unfinished.write_text("new")
    assert (path.read_text(), link.is_symlink()) == ("new", True)
    os.mkfifo(pipe)
    with replacing(pipe) as unfinished:
        assert unfinished == pipe


def test_what_is_written_lies_apart_from_what_is_read(tmp_path: Path) -> None:
    path, absent = tmp_path / "a.nrrd", tmp_path / "absent.nrrd"
    path.write_text("")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to(path)
    (tmp_path / "to absent").symlink_to(absent)
    for name in ("a.nrrd", "../" + tmp_path.name + "/a.nrrd", "hard", "soft"):
        with pytest.raises(CalvariaError, match=r"would be written over .*a\.nrrd") as refused:
            check_apart([None, path], [None, tmp_path / name])
        assert refused.value.code is ErrorCode.BAD_OPTION
    for name in ("absent.nrrd", "to absent"):
        with pytest.raises(CalvariaError, match="would be written over"):
            check_apart([path], [absent, tmp_path / name])
    check_apart([path, path], [absent, tmp_path / "another"])


@pytest.mark.parametrize("letter", ["x", "é", "骨", "\udcff"])
def test_long_names_are_cut_and_stay_apart(tmp_path: Path, letter: str) -> None:
    longest = letter * (250 // len(os.fsencode(letter)))
    with replacing(tmp_path / longest) as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / longest).read_text() == "new"
    short, other = shortened(longest), shortened(f"{longest}a")
    assert max(len(os.fsencode(name)) for name in (short, other)) <= LONGEST_NAME
    assert short != other
    assert shortened(letter) == letter


def test_what_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
