"""Files made by other software, and by hand, for the tests of reading."""

import gzip
import io

import nibabel as nib
import nrrd
import numpy as np

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def by_pynrrd(samples: np.ndarray, header: dict | None = None, encoding: str = "gzip") -> bytes:
    file = io.BytesIO()
    placed = {"space": "left-posterior-superior", "space directions": np.diag([0.5, 0.6, 0.7]), "space origin": [1.0, -2.0, 3.0]}
    nrrd.write(file, samples, {**(placed if header is None else header), "encoding": encoding})
    return file.getvalue()


def by_nibabel(samples: np.ndarray, lps: np.ndarray | None = None, *, kind: type = nib.Nifti1Image, compress: bool = False) -> bytes:
    content: bytes = kind(samples, LPS_FROM_RAS @ (np.eye(4) if lps is None else lps)).to_bytes()
    return gzip.compress(content) if compress else content


def nrrd_text(**changes: str | None) -> bytes:
    """A raw NRRD of 2 x 3 x 4 bytes, its header's lines changed or (None) left out; underscores stand for spaces."""
    fields: dict[str, str | None] = {
        "type": "uchar",
        "dimension": "3",
        "space": "LPS",
        "sizes": "2 3 4",
        "space_directions": "(1,0,0) (0,1,0) (0,0,1)",
        "space_origin": "(0,0,0)",
        "encoding": "raw",
    }
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in (fields | changes).items() if value is not None]
    return "\n".join(["NRRD0005", *lines, "", ""]).encode() + bytes([0, 1] * 12)


def ball(shape: tuple[int, int, int] = (9, 10, 11)) -> np.ndarray:
    at = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    mask = (at**2).sum(axis=-1) < 12
    mask[1, 2, 3] = True  # no symmetry, so that a flipped or transposed axis shows
    return mask
