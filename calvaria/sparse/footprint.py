"""What each engine keeps in memory while a plan runs, in bytes, by numbers of sites alone: the engines' side of `calvaria.memory`.

`Footprint` is the least any engine needs, and all that the C++ one asks of PyTorch. The others say what they need beyond that; each
number stands for the tensors of the function of the same name.
"""

from math import inf, prod
from typing import NamedTuple

from calvaria.sparse.engine import Shape
from calvaria.sparse.reference import GATHER_LIMIT

WORD, START, ROW, PLACE = 8, 4, 4, 32
"""Bytes of a word, of a count of sites before it, of a row's number, and of an int64 (b, x, y, z)."""

CELLS = 64
"""Cells of a word."""

WHOLE_ROWS = 64
"""Up to this many channels the C++ engine keeps whole rows of a decoder level's tile near; beyond, it first decodes all candidates."""


class Sites(NamedTuple):
    """A set of sites in numbers: its grid (B, X, Y, words along z), sites, and the grid at twice the stride with the sites over these."""

    grid: Shape
    occupied: int
    coarse_grid: Shape
    cubes: int

    @property
    def words(self) -> int:
        return prod(self.grid)

    def padded_cells(self, cells: int) -> int:
        """Cells of its words, with so many more along each of three axes."""
        batch, x, y, words = self.grid
        return batch * (x + cells) * (y + cells) * (CELLS * words + cells)


class Footprint:
    """Bytes of tensors. `held` methods: what lives as long as a set of sites. The others: the most during a call, its result included."""

    most_cells: float = inf
    """Of a grid, padded to words, of all items: where there are more, the engine cannot number them."""

    def __init__(self, feature: int):
        """feature  bytes of one."""
        self.feature = feature

    def held_index(self, sites: Sites) -> int:
        """Bytes of a set's rank index."""
        return START * (sites.words + 1)

    def held_sites(self, sites: Sites) -> int:
        """Bytes for a set at whose sites features are computed."""
        return 0

    def held_around(self, sites: Sites) -> int:
        """Bytes for a set on which a 3×3×3 convolution runs."""
        return 0

    def held_judged(self, union: Sites, channels: int) -> int:
        """Bytes for a set that a decoder level decides about."""
        return 0

    def index(self, sites: Sites) -> int:
        return self.held_index(sites)

    def around(self, sites: Sites) -> int:
        return self.held_around(sites)

    def stem(self, sites: Sites, c_out: int) -> int:
        return self.rows(sites.occupied, c_out)

    def convolve(self, sites: Sites, c_in: int, c_out: int) -> int:
        return self.rows(sites.occupied, c_out)

    def downsample(self, fine: Sites, coarse: Sites, c_in: int, c_out: int) -> int:
        return self.rows(coarse.occupied, c_out)

    def generate(self, coarse: Sites, fine: Sites, taps: int, c_in: int, c_out: int) -> int:
        return self.rows(fine.occupied, c_out)

    def decide(self, candidates: Sites, encoder: Sites, union: Sites, channels: int, with_features: bool) -> int:
        decoded = self.rows(candidates.occupied, channels) if channels > WHOLE_ROWS else 0
        return decoded + self.decided(union, channels, with_features)

    def decided(self, union: Sites, channels: int, with_features: bool) -> int:
        """Features, logits and words that `decide` gives."""
        return self.rows(union.occupied, channels * with_features) + 4 * union.occupied + WORD * union.words

    def ranked(self, count: int) -> int:
        """So many logits, masked, in float32, put in order by PyTorch: sorted, with their int64 places and a buffer of as many."""
        return (4 + 4 + 8 + 8) * count

    def rows(self, count: int, channels: int) -> int:
        """Features of so many sites."""
        return count * channels * self.feature


class Reference(Footprint):
    """Plain PyTorch: flags and ranks on dense grids, kernel maps, and a new tensor for every step."""

    def held_around(self, sites: Sites) -> int:
        return 27 * ROW * sites.occupied

    def index(self, sites: Sites) -> int:
        return 4 * WORD * sites.words + self.held_index(sites)

    def around(self, sites: Sites) -> int:
        return self._looked_up(sites, 2, sites.occupied * (PLACE + 27 * 8 + 27 * ROW))

    def stem(self, sites: Sites, c_out: int) -> int:
        present = sites.occupied * 27 * (ROW + 1 + self.feature)
        return max(self.around(sites), present, 27 * self.rows(sites.occupied, 1) + 3 * self.rows(sites.occupied, c_out))

    def convolve(self, sites: Sites, c_in: int, c_out: int) -> int:
        return self._product(self.rows(sites.occupied, c_in), sites.occupied * 27 * c_in, self.rows(sites.occupied, c_out))

    def downsample(self, fine: Sites, coarse: Sites, c_in: int, c_out: int) -> int:
        kernel_map = coarse.occupied * 8 * ROW
        product = self._product(self.rows(fine.occupied, c_in), coarse.occupied * 8 * c_in, self.rows(coarse.occupied, c_out))
        return max(self._looked_up(fine, 4, coarse.occupied * (PLACE + 3 * 8 * 8) + kernel_map), kernel_map + product)

    def generate(self, coarse: Sites, fine: Sites, taps: int, c_in: int, c_out: int) -> int:
        """Counted: the weights in another order; int64 places, three parents, three taps, the rows found and the slots."""
        contributions, numbers = self.rows(coarse.occupied * taps, c_out), fine.occupied * (PLACE + 8 * 8)
        finishing = contributions + self._looked_up(coarse, 2, numbers + 3 * self.rows(fine.occupied, c_out))
        return max(contributions + self.rows(taps * c_in, c_out), 2 * contributions, finishing)

    def decide(self, candidates: Sites, encoder: Sites, union: Sites, channels: int, with_features: bool) -> int:
        decoded, both, skip = (self.rows(sites.occupied, channels) for sites in (candidates, union, encoder))
        found = self._found(max(candidates.occupied, union.occupied), union)
        moving = max(2 * decoded + found, decoded + both + skip + found)
        selecting = decoded + both + union.occupied * (4 + 1 + PLACE + ROW) + 2 * CELLS * union.words
        return max(self.convolve(candidates, channels, channels), moving, decoded + 3 * both, selecting)

    def _product(self, padded: int, gathered: int, out: int) -> int:
        """Gathering in blocks into the product, then its bias and its ReLU."""
        return max(padded + out + self.feature * min(gathered, GATHER_LIMIT), 3 * out)

    def _looked_up(self, sites: Sites, padding: int, taken: int) -> int:
        """Ranks beside those padded by so many cells along every axis, and then the padded ones beside what is taken from them."""
        padded = ROW * sites.padded_cells(padding)
        return padded + max(ROW * CELLS * sites.words, taken)

    def _found(self, count: int, sites: Sites) -> int:
        """Ranks and flags of a grid while rows are looked up by flags."""
        return (ROW + 1) * CELLS * sites.words + count * (PLACE + ROW)


def footprint(engine: str, device_type: str, feature: int) -> Footprint:
    """The footprint of the engine that `calvaria.sparse.engines.choose` named, for features of so many bytes."""
    if engine == "reference":
        return Reference(feature)
    if device_type == "cpu":
        return Footprint(feature)
    from calvaria.sparse.triton_engine.footprint import Triton  # imports Triton

    return Triton(feature)
