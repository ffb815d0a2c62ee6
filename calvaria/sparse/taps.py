"""The order of a kernel's taps, which weights, kernel maps and every engine share."""

from itertools import product

SIDE = {8: 2, 27: 3, 64: 4}
"""The size along an axis of a cubic kernel with as many taps."""


def taps(kernel: int) -> list[tuple[int, int, int]]:
    """Offsets of a cubic kernel's taps, (x, y, z), in the order of its weights: x varies fastest.

    Odd kernels are centred (-1, 0, 1); even kernels are anchored at their corner (0 … kernel-1). MinkowskiEngine's conventions.
    """
    along = range(kernel) if kernel % 2 == 0 else range(-(kernel // 2), kernel // 2 + 1)
    return [(x, y, z) for z, y, x in product(along, along, along)]
