"""One trained network at work: occupied cells of many grids in, a probability for every cell out."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch

from calvaria.errors import ErrorCode, bad_option, error_code
from calvaria.geometry import Field
from calvaria.memory import split_to_fit
from calvaria.minkowski import MinkowskiNetwork
from calvaria.networks import EncoderDecoder, Level
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.sparse.engines import NAMES, choose
from calvaria.sparse.sites import Extent
from calvaria.volume import Mask

MINKOWSKI = "minkowski"
ENGINES = (*NAMES, MINKOWSKI)
"""What may compute a network: the library's own engines by name, or the whole network on MinkowskiEngine."""


BUDGET_BYTES = 2**31
"""Memory for the tensors of a network call that several grids share. A grid over a head takes about 100 MB; what takes more goes alone."""

ELSEWHERE = 13, 29, 45
"""Empty cells before a mirror image along each axis, so that it lies otherwise among the cells of coarser strides than what it mirrors:
that gains a little more than the mirror image alone, and takes next to no time (`models/completion/decisions.md`).
"""

View = tuple[Mask, Field]
"""Sites bool [x, y, z] that a network is asked about, and their features [N, F]."""

log = logging.getLogger(__name__)


class NetworkInput(Protocol):
    """What a network is asked about.

    sites     bool [x, y, z]: the occupied cells
    features  float32 [N, F]: what comes with each, in raster order
    """

    @property
    def sites(self) -> Mask: ...

    @property
    def features(self) -> Field: ...


class Inference:
    """A network on a device and an engine."""

    def __init__(
        self, network: EncoderDecoder, mirrored: bool, device: str = "cpu", engine: str = "auto", budget_bytes: int = BUDGET_BYTES
    ):
        """`mirrored`: ask about the mirror image, left for right, too, and average; where the network generates no sites, in another place.
        `budget_bytes`: of tensors for a call of several grids.

        `engine`: one of ENGINES; CalvariaError BAD_OPTION for another, or one that cannot run here.
        """
        if engine not in ENGINES:
            raise bad_option(f"There is no engine {engine!r}. Choose one of: {', '.join(ENGINES)}.")
        self.network = network.eval().requires_grad_(False).to(device)
        self.mirrored = mirrored
        image = (0, 0, 0) if network.config.grows else ELSEWHERE
        self.before: list[Extent] = [(0, 0, 0), image] if mirrored else [(0, 0, 0)]
        self.device = torch.device(device)
        self.engine = choose("auto" if engine == MINKOWSKI else engine, self.device.type)
        self.computed_by = MINKOWSKI if engine == MINKOWSKI else self.engine
        self.budget_bytes = budget_bytes
        self.decide: Callable[..., list[Level]] = MinkowskiNetwork(self.network) if engine == MINKOWSKI else Plan(self.network)

    def __call__(self, batch: Sequence[NetworkInput]) -> list[Field]:
        """The probability of each cell, float32 [x, y, z]: in as few network calls as memory allows; each as it would be alone."""
        return [answer for shared in self._calls(batch) for answer in self._call(shared)]

    def _calls(self, batch: Sequence[NetworkInput]) -> list[list[NetworkInput]]:
        """A batch in pieces whose predicted memory is within the budget; a grid that alone is not is a piece of its own.

        What MinkowskiEngine takes is not predicted: there every grid is.
        """
        if len(batch) < 2 or self.computed_by == MINKOWSKI:
            return [[item] for item in batch]
        mask_of, config = (lambda item: torch.from_numpy(item.sites)), self.network.config
        return split_to_fit(batch, mask_of, config, self.engine, self.device, self.budget_bytes, self.before)

    def _call(self, batch: Sequence[NetworkInput]) -> list[Field]:
        views = [(item.sites, item.features) for item in batch]
        if not self.mirrored:
            return self._fields(views)
        x, y, z = self.before[1]
        images = [mirror_image(*view) for view in views]
        fields = self._fields(views + [(np.pad(sites, ((x, 0), (y, 0), (z, 0))), features) for sites, features in images])
        half = np.float32(0.5)
        return [half * (field + image[x:, y:, z:][::-1]) for field, image in zip(fields[: len(batch)], fields[len(batch) :], strict=True)]

    def _fields(self, views: Sequence[View]) -> list[Field]:
        """The probability of each cell of every view: in one network call, or in more where the device has not as much memory now."""
        try:
            return self._decided(views)
        except Exception as error:
            if error_code(error) is not ErrorCode.OUT_OF_MEMORY or len(views) == 1:
                raise
            log.warning("%d grids take too much memory of the device; now in halves: %s", len(views), error)
        with suppress(RuntimeError):  # only now nothing holds the failed call's tensors; for those who ask CUDA, not PyTorch's allocator
            torch.cuda.empty_cache()
        half = len(views) // 2
        return self._fields(views[:half]) + self._fields(views[half:])

    def _decided(self, views: Sequence[View]) -> list[Field]:
        masks = [torch.from_numpy(np.ascontiguousarray(sites)) for sites, _ in views]
        with torch.inference_mode():
            sites = SiteSet.from_masks(masks, self.engine if self.device.type == "cpu" else "auto").to(self.device, self.engine)
            features = torch.from_numpy(np.concatenate([each for _, each in views])).to(self.device) if self.network.config.inputs else None
            answer = self.decide(sites, features=features)[-1]
            return [field.numpy() for field in answer.sites.host_spread(probability(answer))]


def mirror_image(sites: Mask, features: Field) -> View:
    """Sites and features left for right."""
    rows = np.zeros(sites.shape, np.int32)
    rows[sites] = np.arange(len(features))
    flipped = sites[::-1].copy()  # along a single cell, `ascontiguousarray` would leave it running backwards
    return flipped, features[rows[::-1][flipped]]


def probability(answer: Level) -> torch.Tensor:
    """Probability of each candidate site [N]; 0 where the bound on generation dropped it."""
    return torch.sigmoid(answer.logits).masked_fill((answer.logits > 0) & ~answer.keep, 0.0)
