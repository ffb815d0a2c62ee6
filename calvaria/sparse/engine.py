"""What a sparse engine computes: the one list of operations behind the operators, training and serving.

An engine is a module with these functions. `reference` is plain PyTorch, on any device, and the oracle; `native` is C++ on a
CPU, Triton on a GPU, and has `why_not() -> str` beside them: what keeps it from working here, or "".

The bits of a grid [B, X, Y, Z] are int64 words [B, X, Y, W], W = ceil(Z / 64): bit k of word w of a line is the cell z = 64 w + k.
Bits past Z are zero. Sites stand in raster order, (b, x, y, z) with z fastest; the row of a site is its rank in that order:
starts[word] + popcount(bits of that word below it).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

Shape = tuple[int, int, int, int]


class Bits(NamedTuple):
    """The occupied sites of a grid.

    words   int64 [B, X, Y, W]
    starts  int32 [B·X·Y·W + 1]: sites before each word, and their number at the end.
    count   that number, N, known on the host.
    """

    words: Tensor
    starts: Tensor
    count: int  # type: ignore[assignment]  # over tuple.count, which nobody wants of bits


class Engine(Protocol):
    """Shapes: N sites of one grid, M of the grid at twice the stride, C_in and C_out channels; features float, contiguous.

    Where a `bias` [C_out] may be given, the result is relu(… + bias), as inference wants it with the normalisation folded in;
    without it, the plain linear operation. Weights' gradients are float32 for narrower features, too. Taps are ordered with x
    fastest (`calvaria.sparse.taps`).
    """

    def describe(self) -> str:
        """What computes, in a few words for the log."""

    # Bits of a grid.

    def pack(self, mask: Tensor, words: Tensor) -> None:
        """Write a mask, bool [x, y, z] of any strides, into the words of one item, int64 [X, Y, W], zero before; x ≤ X, y ≤ Y, z ≤ 64 W."""

    def unpack(self, words: Tensor, depth: int) -> Tensor:
        """bool [..., depth] from words [..., W]."""

    def index(self, words: Tensor) -> Bits:
        """The words with their rank index."""

    def index_all(self, grids: Sequence[Tensor]) -> list[Bits]:
        """`index` of several grids on one device: on a GPU the host waits for their counts once, not once for each."""

    def ends(self, bits: Bits) -> list[int]:
        """Sites up to the end of each item of the batch: the last is their number."""

    def coordinates(self, bits: Bits) -> Tensor:
        """int32 [N, 4]: (b, x, y, z) of each site in cells of this grid."""

    def mark(self, coordinates: Tensor, shape: Shape) -> Tensor:
        """words of the grid [B, X, Y, Z] with a site at each of these (b, x, y, z), int [N, 4], in any order, doubles allowed.

        ValueError if one lies outside the grid, where finding out costs no wait for a device.
        """

    def parents(self, words: Tensor) -> Tensor:
        """words [B, ⌈X/2⌉, ⌈Y/2⌉, ⌈W/2⌉] of the grid at twice the stride: set where any of the eight children is."""

    def children(self, words: Tensor, limits: Tensor, shape: Shape, kernel: int) -> Tensor:
        """words of the grid `shape` at half the stride: cells 2u … 2u + kernel - 1 along each axis of every site u; kernel 2 or 4.

        limits  int64 [B, 3]: the size (x, y, z) of each item in cells of the finer grid; what lies outside is clipped.
        """

    def candidates(
        self, words: Tensor, limits: Tensor, shape: Shape, kernel: int, encoder: Tensor, also: Sequence[Tensor] = ()
    ) -> list[Bits]:
        """`children`, the sites of either those or the words `encoder` of the same grid, and other grids that are to be indexed with them.

        On a GPU the host waits once.
        """

    def select(self, bits: Bits, keep: Tensor) -> Tensor:
        """words of the sites where `keep`, bool [N], is true."""

    def rows(self, bits: Bits, wanted: Bits) -> Tensor:
        """int32 [wanted.count]: the row in `bits` of each of the wanted sites of the same grid; bits.count where it has none."""

    def spread(self, bits: Bits, values: Tensor, item: int, size: tuple[int, int, int], absent: float) -> Tensor:
        """float32 [x, y, z]: the values, float32 [N], at the sites of one item, whose size (x, y, z) is given; `absent` elsewhere."""

    def neighbours(self, bits: Bits, parents: Bits | None = None) -> Tensor:
        """Kernel map of a 3×3×3 convolution on these sites, as this engine's `convolve` wants it, shared by every use of the sites.

        parents  the sites at twice the stride, where they are known already.

        int32 [N, 27], the row under each tap or N; or, from an engine that reads the bits instead, what no other one knows.
        """

    # Features in the order of the sites. All but `decide` are linear without a bias.

    def stem(self, weight: Tensor, bits: Bits, bias: Tensor | None = None) -> Tensor:
        """[N, C_out]: 3×3×3 convolution of ones at the sites, from their bits; weight [27, C_out]."""

    def stem_weight_gradient(self, gradient: Tensor, bits: Bits) -> Tensor:
        """[27, C_out] from the gradient [N, C_out] of `stem`."""

    def convolve(self, features: Tensor, weight: Tensor, bits: Bits, neighbours: Tensor, bias: Tensor | None = None) -> Tensor:
        """[N, C_out]: 3×3×3 convolution whose output sites are its input sites; weight [27, C_in, C_out]."""

    def convolve_weight_gradient(self, features: Tensor, gradient: Tensor, bits: Bits, neighbours: Tensor) -> Tensor:
        """[27, C_in, C_out] from the features [N, C_in] and the gradient [N, C_out] of `convolve`."""

    def downsample(self, features: Tensor, weight: Tensor, fine: Bits, coarse: Bits, bias: Tensor | None = None) -> Tensor:
        """[M, C_out]: out[u] = Σ_t features[2u + t] @ weight[t] over the fine sites there are.

        weight [kernel³, C_in, C_out], kernel 2 or 4.
        """

    def generate(self, features: Tensor, weight: Tensor, coarse: Bits, fine: Bits, bias: Tensor | None = None) -> Tensor:
        """[N, C_out]: out[f] = Σ_t features[(f - t) / 2] @ weight[t] over the coarse sites there are; the adjoint of `downsample`.

        weight [kernel³, C_in, C_out], kernel 2 or 4.
        """

    def stride_weight_gradient(self, fine_features: Tensor, coarse_features: Tensor, fine: Bits, coarse: Bits, kernel: int) -> Tensor:
        """[kernel³, C_fine, C_coarse]: Σ_u fine_features[2u + t]ᵀ coarse_features[u]."""

    def transfer(self, features: Tensor, source: Bits, target: Bits) -> Tensor:
        """[target.count, C]: each target site's features in the source, zero where the source lacks it. Its adjoint is itself, reversed."""

    def join(self, features: Tensor, source: Bits, others: Tensor, other: Bits, target: Bits) -> Tensor:
        """[target.count, C]: both sources' features added at each target site."""

    # While training.

    def normalise(
        self, features: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(relu((features [N, C] - mean) · scale · weight + bias); mean and scale = 1/√(variance + eps), float32 [C], over the rows).

        N is at least 2. The running statistics [C] move towards mean and unbiased variance by the momentum.
        """

    def normalise_gradient(
        self, gradient: Tensor, features: Tensor, out: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of features, weight and bias from that of `normalise`, whose results are `out`, mean and scale."""

    # A decoder level as inference wants it, in one pass.

    def decide(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        candidates: Bits,
        neighbours: Tensor,
        skip: Tensor,
        encoder: Bits,
        union: Bits,
        head: Tensor,
        head_bias: float,
        keep_above: float,
        with_features: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(features [union.count, C], or [0, C] unless wanted; logits, float32 [union.count]; words of the kept sites) of a decoder level.

        The candidates' features go through relu(convolve + bias); on the union with the encoder's sites `skip` [encoder.count, C] is
        added; logits = features @ head [C] + head_bias; a site is kept where its logit exceeds `keep_above`. The union holds all
        candidates and all the encoder's sites.
        """
        ...
