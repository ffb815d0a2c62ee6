"""What this engine keeps in memory while a plan runs; see `calvaria.sparse.footprint`."""

from calvaria.sparse.footprint import CELLS, ROW, WORD, Footprint, Sites
from calvaria.sparse.triton_engine.bits import CUBED_WORDS, FEW_WORDS
from calvaria.sparse.triton_engine.cubes import CHANNELS, suits
from calvaria.sparse.triton_engine.features import decides_at_once
from calvaria.sparse.triton_engine.launch import CELLS_LIMIT, parts_of


class Triton(Footprint):
    """Beside the least: the sites' cells and, for cubes of 2×2×2, the parents of the sites that a decoder level judges."""

    most_cells = CELLS_LIMIT

    def held_index(self, sites: Sites) -> int:
        return super().held_index(sites) + ROW * CELLS * sites.words * self._few(sites)

    def held_sites(self, sites: Sites) -> int:
        return 0 if self._few(sites) else ROW * sites.occupied

    def held_judged(self, union: Sites, channels: int) -> int:
        suited = suits(channels, channels, union.occupied)
        cubes = Sites(union.coarse_grid, union.cubes, (0, 0, 0, 0), 0)
        indexed = WORD * cubes.words + self.held_index(cubes) if suited or union.words >= CUBED_WORDS else 0
        return indexed + self.held_sites(cubes if suited else union)

    def stem(self, sites: Sites, c_out: int) -> int:
        return super().stem(sites, c_out) + ROW * sites.occupied

    def convolve(self, sites: Sites, c_in: int, c_out: int) -> int:
        apart = self._cube_weights(sites, c_in, c_out) + self._parts(sites.occupied, c_in, c_out, 9, 3)
        return super().convolve(sites, c_in, c_out) + apart

    def downsample(self, fine: Sites, coarse: Sites, c_in: int, c_out: int) -> int:
        return super().downsample(fine, coarse, c_in, c_out) + self._parts(coarse.occupied, c_in, c_out, 4, 2)

    def generate(self, coarse: Sites, fine: Sites, taps: int, c_in: int, c_out: int) -> int:
        return super().generate(coarse, fine, taps, c_in, c_out) + self._parts(fine.occupied, c_in, c_out, taps // 2, 2)

    def decide(self, candidates: Sites, encoder: Sites, union: Sites, channels: int, with_features: bool) -> int:
        decided = self._cube_weights(union, channels, channels) + self.decided(union, channels, with_features)
        if decides_at_once(candidates.occupied, channels, self.feature):
            return decided
        return max(self.convolve(candidates, channels, channels), self.rows(candidates.occupied, channels) + decided)

    def ranked(self, count: int) -> int:
        """By PyTorch's source: sorting on a GPU also takes a buffer for the logits."""
        return super().ranked(count) + 12 * count

    def _parts(self, count: int, c_in: int, c_out: int, groups: int, slots: int) -> int:
        """Sums of parts of a product, where it is cut into some."""
        parts = parts_of(count, c_in, c_out, groups, slots, self.feature)
        return 4 * parts * count * c_out if parts > 1 else 0

    def _cube_weights(self, sites: Sites, c_in: int, c_out: int) -> int:
        """Weights laid out for cubes, in two steps."""
        return 2 * self.rows(8 * CELLS, CHANNELS**2) if suits(c_in, c_out, sites.occupied) else 0

    def _few(self, sites: Sites) -> bool:
        """Whether the cells are numbered along with the index, in a tensor long enough for any."""
        return sites.words <= FEW_WORDS
