"""The door: what is told apart, what is refused, and what no bytes whatever can do."""

import gzip
import resource
import subprocess
import sys
from pathlib import Path

import nrrd
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import FORMATS, VOLUME_FORMATS, as_mask, decode, decode_image, encode, format_of, open_image, read, read_image, write
from calvaria.volume import BinaryVolume
from tests.io.volume_files import ball, by_nibabel, by_pynrrd, nrrd_text

SKULL = Path(__file__).parents[3] / "shared" / "data" / "seg3d_skull.nrrd"


def refusal_of(content: bytes, **options: int) -> ErrorCode:
    with pytest.raises(CalvariaError) as refusal:
        decode(content, **options)
    return refusal.value.code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", ErrorCode.NOT_A_VOLUME),
        (bytearray(), ErrorCode.NOT_A_VOLUME),
        (b"\0", ErrorCode.NOT_A_VOLUME),
        (b"hello", ErrorCode.NOT_A_VOLUME),
        (b'{"volume": "skull.nrrd"}', ErrorCode.NOT_A_VOLUME),
        (bytes(128) + b"DICM" + bytes(1000), ErrorCode.NOT_A_VOLUME),
        (bytes(4096), ErrorCode.NOT_A_VOLUME),
        (gzip.compress(b""), ErrorCode.NOT_A_VOLUME),
        (gzip.compress(b"not a volume either"), ErrorCode.NOT_A_VOLUME),
        (b"\x1f\x8b", ErrorCode.TRUNCATED),
        (b"\x1f\x8b" + b"\xff" * 100, ErrorCode.TRUNCATED),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_volume_is_refused_with_its_code(content, code):
    assert refusal_of(content) is code


whole_files = {
    "raw nrrd": by_pynrrd(ball().astype("u1"), encoding="raw"),
    "gzip nrrd": by_pynrrd(ball().astype("u1"), encoding="gzip"),
    "nii": by_nibabel(ball().astype("u1")),
    "nii.gz": by_nibabel(ball().astype("u1"), compress=True),
    "nrrd.gz": gzip.compress(by_pynrrd(ball().astype("u1"), encoding="raw")),
    "int16 nrrd": by_pynrrd(ball().astype("i2")),
}


@pytest.mark.parametrize("name", whole_files)
def test_every_proper_beginning_of_a_file_is_refused(name):
    content = whole_files[name]
    decode(content)
    for length in range(len(content)):
        code = refusal_of(content[:length])
        if length > 400 and "gz" not in name:
            assert code is ErrorCode.TRUNCATED
    assert refusal_of(content[:-1]) is ErrorCode.TRUNCATED


@pytest.mark.parametrize("name", ["raw nrrd", "nii"])
def test_data_after_the_samples_is_refused(name):
    assert refusal_of(whole_files[name] + b"\0") is ErrorCode.BAD_HEADER


@pytest.mark.parametrize("name", ["gzip nrrd", "nii.gz"])
def test_a_damaged_checksum_is_refused(name):
    content = bytearray(whole_files[name])
    content[-6] ^= 1  # in the CRC-32 at the end
    assert refusal_of(content) is ErrorCode.TRUNCATED


@settings(max_examples=400)
@given(
    name=st.sampled_from(sorted(whole_files)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
    cut=st.floats(0.2, 1),
)
def test_mutated_files_are_decoded_or_refused(name, edits, cut):
    content = bytearray(whole_files[name])
    for place, replacement in edits:
        at = int(place * min(len(content), 600))  # headers, mostly
        content[at : at + len(replacement)] = replacement
    try:
        decoded = decode(content[: int(cut * len(content))], max_voxels=10**6)
    except CalvariaError:
        return
    assert decoded.volume.mask.size <= 10**6


@settings(max_examples=200)
@given(
    head=st.sampled_from([b"", b"NRRD0004\n", b"\x1f\x8b\x08", bytes(344) + b"n+1\0", b"\x5c\1\0\0" + bytes(340) + b"n+1\0"]),
    tail=st.binary(max_size=700),
)
@example(head=b"NRRD0004\n", tail=b"sizes: 1e99 1e99 1e99\ndimension: 3\ntype: uchar\nencoding: raw\n\n")
def test_bytes_that_mean_nothing_are_refused(head, tail):
    with pytest.raises(CalvariaError):
        decode(head + tail)


def test_the_limit_on_voxels_is_read_from_the_header():
    content = whole_files["gzip nrrd"]
    assert refusal_of(content, max_voxels=9 * 10 * 11 - 1) is ErrorCode.TOO_LARGE
    assert decode(content, max_voxels=9 * 10 * 11).volume.shape == (9, 10, 11)


def test_bytes_bytearray_and_memoryview_read_alike():
    content = whole_files["gzip nrrd"]
    masks = [decode(kind(content)).volume.mask for kind in (bytes, bytearray, memoryview)]
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


BOMB = """
import gzip, resource
from calvaria.errors import CalvariaError
from calvaria.io import decode
zeros = gzip.compress(bytes(2**24)) * 128  # 2 GiB in 2 MB
head = b"NRRD0005\\ntype: uchar\\ndimension: 3\\nsizes: 100 100 100\\nspacings: 1 1 1\\nencoding: gzip\\n\\n"
nifti = __import__("nibabel").Nifti1Image(__import__("numpy").ones((9, 9, 9), "u1"), None).to_bytes()
decode(head.replace(b"100", b"2") + gzip.compress(bytes(8)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in (head + zeros, gzip.compress(nifti) + zeros, zeros, gzip.compress(b"NRRD0005\\n") + zeros):
    try:
        decode(body)
        raise SystemExit("a bomb was decoded")
    except CalvariaError as refusal:
        print(refusal.code.value)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_small_file_that_expands_without_end_is_stopped():
    """In a process of its own, so that the most memory ever used is its own."""
    ran = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True, timeout=60)
    *codes, megabytes = ran.stdout.split()
    assert codes == ["bad-header", "bad-header", "not-a-volume", "bad-header"]
    assert int(megabytes) < 40


def test_of_dicom_it_is_said_what_converts_it():
    with pytest.raises(CalvariaError, match="a DICOM file; convert its series first, with dcm2niix"):
        decode(bytes(128) + b"DICM" + bytes(1000))


def test_a_header_that_promises_much_costs_little():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal_of(nrrd_text(sizes="640 640 640")) is ErrorCode.TRUNCATED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_opening_reads_the_header_alone():
    promise = open_image(nrrd_text(sizes="640 640 640", type="short", endian="little"))
    assert promise.sample_bytes == 2 * 640**3
    with pytest.raises(CalvariaError) as caught:
        promise.read()
    assert caught.value.code is ErrorCode.TRUNCATED
    volume = BinaryVolume.on_grid(ball(), (1, 1, 1))
    for format in VOLUME_FORMATS:
        promise = open_image(encode(volume, format))
        assert promise.sample_bytes == volume.mask.size
        assert np.array_equal(as_mask(promise.read()).volume.mask, volume.mask)


@pytest.mark.parametrize("format", VOLUME_FORMATS)
def test_a_file_is_written_and_read_by_its_suffix(tmp_path, format):
    volume = BinaryVolume.on_grid(ball(), (0.5, 0.5, 2.0), (-10.0, 20.0, 30.0))
    path = tmp_path / f"skull.{format}"
    write(path, volume)
    decoded = read(path)
    assert decoded.format == format
    assert decoded.volume.same_grid(volume)
    assert np.array_equal(decoded.volume.mask, volume.mask)


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path, volume = tmp_path / "a.nrrd", BinaryVolume.on_grid(ball(), (1, 1, 1))
    write(path, volume)
    before = path.read_bytes()

    def fails(unfinished, content):
        with unfinished.open("wb") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fails)
    with pytest.raises(CalvariaError, match="No space left"):
        write(path, volume)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_volume_gives_the_same_bytes():
    volume = BinaryVolume.on_grid(ball(), (1, 1, 1))
    assert all(encode(volume, format) == encode(volume, format) for format in FORMATS)


def test_a_missing_file_and_an_unknown_suffix_are_named(tmp_path):
    with pytest.raises(CalvariaError, match=r"absent\.nrrd cannot be read"):
        read(tmp_path / "absent.nrrd")
    with pytest.raises(CalvariaError, match="cannot be read"):
        read_image(tmp_path)
    with pytest.raises(CalvariaError, match=r"end the name in \.nrrd, \.nii, \.nii\.gz, \.stl"):
        write(tmp_path / "skull.mha", BinaryVolume.on_grid(ball(), (1, 1, 1)))
    with pytest.raises(CalvariaError, match="cannot be written"):
        write(tmp_path / "absent" / "skull.nrrd", BinaryVolume.on_grid(ball(), (1, 1, 1)))
    with pytest.raises(ValueError, match="format must be one of"):
        encode(BinaryVolume.on_grid(ball(), (1, 1, 1)), "mha")


@pytest.mark.parametrize(("name", "format"), [("a.nrrd", "nrrd"), ("A.NRRD", "nrrd"), ("a.b.nii", "nii"), ("/x/a.nii.gz", "nii.gz")])
def test_the_suffix_names_the_format(name, format):
    assert format_of(name) == format


def test_intensities_are_read_as_they_are():
    ct = np.arange(-500, 490, dtype="i2").reshape(9, 10, 11)
    for content in (by_pynrrd(ct), by_nibabel(ct)):
        image = decode_image(content)
        assert np.array_equal(image.samples, ct)
        assert image.samples.flags.f_contiguous


@pytest.mark.shared
@pytest.mark.skipif(not SKULL.exists(), reason=f"{SKULL} is not there")
def test_the_real_skull_is_read_as_pynrrd_reads_it():
    samples, header = nrrd.read(str(SKULL))
    decoded = read(SKULL)
    assert decoded.warnings == ()
    assert decoded.volume.occupied == 532_633
    assert np.array_equal(decoded.volume.mask, samples > 0)
    assert np.array_equal(decoded.volume.affine[:3, :3].T, header["space directions"])
    assert np.array_equal(decoded.volume.affine[:3, 3], header["space origin"])
