"""Bytes from a client as streams that are read no further than a header allows, compressed or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from io import BufferedIOBase, BytesIO
from typing import Any

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.image import AGAIN

_CHUNK_BYTES = 2**17  # the reader unpacks into bytes of its own first: these stay in cache; with 64 MiB, decoding takes 2.5 times as long
_SLAB = 16
_GZIP_LEVEL = 2  # of isal's 0 to 3: the same size as 1 and smaller than 3 on masks, at the same speed as 0


def open_stream(data: bytes | bytearray | memoryview) -> BufferedIOBase:
    """A seekable stream over a file's content, unpacked on the way if the whole file is gzip-compressed."""
    return expanding(BytesIO(data)) if is_gzip(data) else BytesIO(data)


def is_gzip(data: bytes | bytearray | memoryview) -> bool:
    return bytes(data[:2]) == b"\x1f\x8b"


def expanding(stream: BufferedIOBase) -> BufferedIOBase:
    """What follows in a stream, gzip-expanded as it is read and never ahead by more than a buffer."""
    return igzip.IGzipFile(fileobj=stream, mode="rb")


def in_file_order(samples: NDArray[Any]) -> memoryview:
    """Samples of one byte each [X, Y, Z] as they lie in a file, X the fastest."""
    if not samples.flags.f_contiguous:
        ordered = np.empty(samples.shape, samples.dtype, order="F")
        for x in range(0, len(samples), _SLAB):  # numpy's transposing copy of a whole 512³ mask takes six times as long
            ordered[x : x + _SLAB] = samples[x : x + _SLAB]
        samples = ordered
    return samples.reshape(-1, order="F").view(np.uint8).data


def compressed(data: bytes | memoryview) -> bytes:
    """Gzip, without a time in it; isal may pack the same data in more than one way."""
    packed: bytes = igzip.compress(data, _GZIP_LEVEL, mtime=0)
    return packed


@contextmanager
def refusing_bad_gzip() -> Iterator[None]:
    """Turn what the gzip reader raises on a client's bytes into a refusal."""
    try:
        yield
    except EOFError as error:
        message = "The gzip data ends in the middle, or other bytes follow it; send the file again, whole."
        raise CalvariaError(ErrorCode.TRUNCATED, message) from error
    except (BadGzipFile, IsalError) as error:  # type: ignore[misc]  # isal's stub declares the class as if it were an instance
        raise CalvariaError(ErrorCode.TRUNCATED, "The gzip data is damaged; write the file again, or send it uncompressed.") from error


def read_samples(stream: BufferedIOBase, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Exactly the samples a header promises, [X, Y, Z] in Fortran order; the data must end with them.

    Memory is taken page by page as data arrives, so a small file that promises much costs little.
    """
    samples = np.empty(shape, dtype, order="F")
    room = samples.reshape(-1, order="F").view(np.uint8).data
    filled = 0
    while filled < len(room):
        count = stream.readinto(room[filled : filled + _CHUNK_BYTES])
        if not count:
            raise CalvariaError(
                ErrorCode.TRUNCATED,
                f"The header promises {len(room):,} bytes of samples and the file holds {filled:,}; send the file again, whole.",
            )
        filled += count
    if stream.read(1):
        raise CalvariaError(
            ErrorCode.BAD_HEADER, f"The file holds more than the {len(room):,} bytes of samples its header promises. {AGAIN}"
        )
    return samples
