"""NRRD, with pynrrd as the other side."""

import gzip
import io

import nrrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, decode_image, encode, encode_scan
from calvaria.volume import BinaryVolume
from tests.io.volume_files import ball, by_pynrrd, nrrd_text


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "<i2", ">i2", "<u4", ">i4", "i8", "u8", "<f4", ">f8"])
def test_what_pynrrd_wrote_is_read(dtype, encoding):
    mask = ball()
    decoded = decode(by_pynrrd(mask.astype(dtype), encoding=encoding))
    assert np.array_equal(decoded.volume.mask, mask)
    assert decoded.volume.mask.flags.f_contiguous
    assert decoded.format == "nrrd"
    assert decoded.warnings == ()
    expected = np.diag([0.5, 0.6, 0.7, 1.0])
    expected[:3, 3] = 1, -2, 3
    assert np.array_equal(decoded.volume.affine, expected)


def test_pynrrd_reads_the_scans_that_we_write():
    samples = np.random.default_rng(0).uniform(-40_000, 40_000, (5, 4, 3)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=np.random.default_rng(1)).as_matrix() * [0.5, 0.7, 3.0]
    affine[:3, 3] = 1.5, -2.25, 1 / 3
    content = encode_scan(samples, affine)
    header = nrrd.read_header(io.BytesIO(content))
    read = nrrd.read_data(header, io.BytesIO(content[content.index(b"\n\n") + 2 :]))
    assert read.dtype == np.int16
    assert np.array_equal(read, np.rint(samples).clip(-32768, 32767))
    assert np.array_equal(header["space directions"], affine[:3, :3].T)
    image = decode_image(content)
    assert np.array_equal(image.samples, read)
    assert np.array_equal(image.affine, affine)


def test_an_nrrd_that_is_compressed_as_a_whole_is_read():
    mask = ball()
    for encoding in ("raw", "gzip"):
        assert np.array_equal(decode(gzip.compress(by_pynrrd(mask.astype("u1"), encoding=encoding))).volume.mask, mask)


@pytest.mark.parametrize("tail", [b"\n", b"more"])
def test_what_follows_gzip_data_is_named_as_the_reason(tail):
    header, _ = nrrd_text(encoding="gzip").split(b"\n\n")
    samples = gzip.compress(bytes(24))
    with pytest.raises(CalvariaError, match="other bytes follow it") as refused:
        decode(header + b"\n\n" + samples + tail)
    assert refused.value.code is ErrorCode.TRUNCATED


def test_gzip_data_in_several_members_is_read():
    header, _ = nrrd_text(encoding="gzip").split(b"\n\n")
    samples = bytes([0, 1] * 12)
    decoded = decode(header + b"\n\n" + gzip.compress(samples[:7]) + gzip.compress(samples[7:]))
    assert decoded.volume.occupied == 12


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Turned and a little sheared axes of any handedness."""
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    sheared = np.eye(3) + np.triu(np.full((3, 3), draw(st.floats(-0.3, 0.3))), 1)
    affine[:3, :3] = turned @ sheared * draw(st.tuples(*[st.floats(0.01, 20)] * 3)) * draw(st.sampled_from([-1, 1]))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-1e4, 1e4)] * 3))
    return affine


@given(mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)), affine=affines(), in_order=st.sampled_from("CF"))
def test_what_is_written_comes_back_to_the_last_bit_and_pynrrd_agrees(mask, affine, in_order):
    content = encode(BinaryVolume(np.array(mask, order=in_order), affine), "nrrd")
    decoded = decode(content)
    assert np.array_equal(decoded.volume.mask, mask)
    assert np.array_equal(decoded.volume.affine, affine)
    assert not [warning for warning in decoded.warnings if "right angles" not in warning]

    file = io.BytesIO(content)
    header = nrrd.read_header(file)
    assert np.array_equal(nrrd.read_data(header, file), mask)
    assert header["space"] == "left-posterior-superior"
    assert np.array_equal(header["space directions"].T, affine[:3, :3])
    assert np.array_equal(header["space origin"], affine[:3, 3])


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("LAS", (1, -1, 1)),
    ],
)
def test_every_patient_space_becomes_lps(space, signs):
    directions = np.array([[0.5, 0.1, 0], [0, 0.6, 0], [0, 0.2, 0.7]])
    volume = decode(nrrd_text(space=space, space_directions="(0.5,0.1,0) (0,0.6,0) (0,0.2,0.7)", space_origin="(1,2,3)")).volume
    assert np.allclose(volume.affine[:3, :3], (directions * signs).T)
    assert np.allclose(volume.affine[:3, 3], np.multiply([1, 2, 3], signs))


def test_vectors_may_hold_blanks():
    wide = nrrd_text(space_directions="(1, 0, 0) ( 0, 2 ,0 )  (0, 0, 3)", space_origin="( 4, 5, 6)")
    close = nrrd_text(space_directions="(1,0,0) (0,2,0) (0,0,3)", space_origin="(4,5,6)")
    assert np.array_equal(decode(wide).volume.affine, decode(close).volume.affine)


@pytest.mark.parametrize(
    ("changes", "affine", "warning"),
    [
        ({"space": None, "space_directions": None, "space_origin": None}, np.eye(4), "no spacing and no directions"),
        ({"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3"}, np.diag([1, 2, 3, 1]), "no directions"),
        ({"space_origin": None}, np.eye(4), "no origin"),
        ({"space": "scanner-xyz"}, np.eye(4), "which patient space"),
        ({"space": None, "space_dimension": "3"}, np.eye(4), "which patient space"),
        ({"space_units": '"cm" "furlong" "cm"'}, np.diag([10, 1, 10, 1]), "not known"),
    ],
)
def test_missing_geometry_is_assumed_with_a_warning(changes, affine, warning):
    decoded = decode(nrrd_text(**changes))
    assert np.array_equal(decoded.volume.affine, affine)
    assert any(warning in sentence for sentence in decoded.warnings)


def test_old_style_geometry_places_the_first_voxel():
    volume = decode(nrrd_text(space=None, space_directions=None, space_origin=None, spacings="1 2 3", axis_mins="4 5 6")).volume
    assert volume.spacing_mm == (1, 2, 3)
    assert volume.origin_mm == (4.5, 6, 7.5)  # the first cell begins there


@pytest.mark.parametrize("field", ["centers", "centerings"])
def test_samples_that_are_nodes_begin_where_their_axis_does(field):
    old = {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3", "axis_mins": "4 5 6"}
    assert decode(nrrd_text(**old, **{field: "node node node"})).volume.origin_mm == (4, 5, 6)
    assert decode(nrrd_text(**old, **{field: "node cell cell"})).volume.origin_mm == (4, 6, 7.5)


def test_carriage_returns_comments_and_keys_do_no_harm():
    header, samples = nrrd_text(sizes='2 3 4\nSegment0_Name:=bone: all of it\ntype:=head\n# a comment\nlabels: "unclosed').split(b"\n\n")
    assert decode(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + samples).volume.occupied == 12


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"encoding": "bzip2"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"encoding": "ascii"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"encoding": "hex"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"line_skip": "1"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"byte_skip": "-1"}, ErrorCode.UNSUPPORTED_ENCODING),
        ({"data_file": "/etc/passwd"}, ErrorCode.DETACHED_HEADER),
        ({"datafile": "skull.raw"}, ErrorCode.DETACHED_HEADER),
        ({"Data_File": "skull.raw"}, ErrorCode.DETACHED_HEADER),
        ({"data_file": "LIST\na.raw\nb.raw"}, ErrorCode.DETACHED_HEADER),
        ({"data_file": "skull%03d.raw 1 5 1"}, ErrorCode.DETACHED_HEADER),
        ({"type": "block"}, ErrorCode.BAD_HEADER),
        ({"type": "quaternion"}, ErrorCode.BAD_HEADER),
        ({"type": "short", "endian": "middle"}, ErrorCode.BAD_HEADER),
        ({"type": "short"}, ErrorCode.BAD_HEADER),
        ({"type": None}, ErrorCode.BAD_HEADER),
        ({"sizes": None}, ErrorCode.BAD_HEADER),
        ({"encoding": None}, ErrorCode.BAD_HEADER),
        ({"dimension": None}, ErrorCode.BAD_HEADER),
        ({"dimension": "three"}, ErrorCode.BAD_HEADER),
        ({"space_units": '"a" ' * 10_000}, ErrorCode.BAD_HEADER),
        ({"dimension": "4"}, ErrorCode.BAD_HEADER),
        ({"sizes": "2 3 0"}, ErrorCode.BAD_HEADER),
        ({"sizes": "2 3 -4"}, ErrorCode.BAD_HEADER),
        ({"sizes": "-2 3 -4"}, ErrorCode.BAD_HEADER),
        ({"sizes": "two three four"}, ErrorCode.BAD_HEADER),
        ({"sizes": "2.5 3 4"}, ErrorCode.BAD_HEADER),
        ({"sizes": "99999999999999999999999999 3 4"}, ErrorCode.TOO_LARGE),
        ({"sizes": "2 3 3"}, ErrorCode.BAD_HEADER),  # the data is longer
        ({"sizes": "2 3 5"}, ErrorCode.TRUNCATED),
        ({"type": "double", "endian": "little"}, ErrorCode.TRUNCATED),
        ({"sizes": "200000 300000 400000"}, ErrorCode.TOO_LARGE),
        ({"sizes": "4294967296 4294967296 4294967296"}, ErrorCode.TOO_LARGE),
        ({"dimension": "2", "sizes": "4 6"}, ErrorCode.WRONG_DIMENSION),
        ({"dimension": "4", "sizes": "1 2 3 4"}, ErrorCode.WRONG_DIMENSION),
        ({"space": None, "space_directions": None, "spacings": "0 1 1"}, ErrorCode.BAD_GEOMETRY),
        ({"space": None, "space_directions": None, "spacings": "1 -1 1"}, ErrorCode.BAD_GEOMETRY),
        ({"space": None, "space_directions": None, "spacings": "1 nan 1"}, ErrorCode.BAD_GEOMETRY),
        ({"space": None, "space_directions": None, "spacings": "1 1"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(1,0,0) (0,nan,0) (0,0,1)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(1,0,0) (0,1e308,0) (0,0,1)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "none (0,1,0) (0,0,1)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(1,0,0) (0,1,0)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_directions": "(0.0000004,0,0) (0,0.0000004,0) (0,0,0.0000004)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_origin": "(0,0)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_origin": "(0,inf,0)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_origin": "(0,1e308,0)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_origin": "(0,0,-1000001)"}, ErrorCode.BAD_GEOMETRY),
        ({"space_units": '"mm" "mm"'}, ErrorCode.BAD_GEOMETRY),
        ({"type": "double", "endian": "little", "sizes": "513 512 512"}, ErrorCode.TOO_LARGE),
        ({"type": "double", "endian": "little", "sizes": "512 512 512"}, ErrorCode.TRUNCATED),
        ({"space": "middle-earth"}, ErrorCode.BAD_GEOMETRY),
    ],
    ids=str,
)
def test_a_bad_header_is_refused_with_its_code(changes, code):
    with pytest.raises(CalvariaError) as refusal:
        decode(nrrd_text(**changes))
    assert refusal.value.code is code
    assert refusal.value.message.endswith(".")


@pytest.mark.parametrize(
    "content",
    [
        b"NRRD",
        b"NRRD0005",
        b"NRRD0005\n\n",
        b"NRRD0099\n\n",
        b"NRRD0005\nno colon here\n\n",
        b"NRRD0005\n" + b"#" * 2**20,
        b"NRRD\n" * 10**6,
    ],
    ids=lambda content: f"{content[:20]!r}, {len(content)} bytes",
)
def test_what_merely_begins_like_an_nrrd_is_a_bad_header(content):
    with pytest.raises(CalvariaError) as refusal:
        decode(content)
    assert refusal.value.code is ErrorCode.BAD_HEADER


@pytest.mark.parametrize(
    ("unit", "mm"), [("mm", 1), ("", 1), ("cm", 10), ("Centimeter", 10), ("m", 1000), ("meter", 1000), ("um", 0.001), ("µm", 0.001)]
)
@pytest.mark.parametrize("placed", [True, False], ids=["directions", "spacings"])
def test_units_of_length_become_millimetres(unit, mm, placed):
    one = f"{1 / mm:.17g}"
    if placed:
        directions = f"({one},0,0) (0,{one},0) (0,0,{one})"
        content = nrrd_text(space_units=f'"{unit}" ' * 3, space_directions=directions, space_origin=f"({one},0,0)")
    else:
        axes = {"spacings": f"{one} {one} {one}", "axis_mins": f"{one} 0 0", "units": f'"{unit}" ' * 3}
        content = nrrd_text(space=None, space_directions=None, space_origin=None, **axes)
    decoded = decode(content)
    assert not [warning for warning in decoded.warnings if "known" in warning]
    expected = np.eye(4)
    expected[:3, 3] = [1, 0, 0] if placed else [1.5, 0.5, 0.5]
    np.testing.assert_allclose(decoded.volume.affine, expected)


def test_a_space_before_the_colon_does_no_harm():
    assert decode(nrrd_text().replace(b"sizes:", b"sizes :")).volume.shape == (2, 3, 4)


def test_upper_and_lower_case_are_one_in_names():
    plain = decode(nrrd_text(type="short", endian="little", sizes="2 3 2"))
    names = "type", "dimension", "space", "space directions", "space origin", "encoding", "endian", "sizes"
    content = nrrd_text(type="SHORT", endian="Little", encoding="RAW", sizes="2 3 2")
    for name in names:
        content = content.replace(f"\n{name}:".encode(), f"\n{name.title()}:".encode())
    assert np.array_equal(decode(content).volume.mask, plain.volume.mask)
    assert np.array_equal(decode(content).volume.affine, plain.volume.affine)
    assert decode(content).warnings == ()


@pytest.mark.parametrize(("degrees", "warned"), [(0.5, False), (-0.5, False), (2, True), (-20, True)])
def test_axes_that_are_not_at_right_angles_are_warned_of(degrees, warned):
    tilt = np.radians(degrees)
    decoded = decode(nrrd_text(space_directions=f"(1,0,0) (0,1,0) (0,{2 * np.sin(tilt)},{2 * np.cos(tilt)})"))
    assert ["off right angles" in warning for warning in decoded.warnings] == [True] * warned
