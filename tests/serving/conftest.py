"""A predictor without a network, for tests of what lies around one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.tasks.completion import COMPLETION
from calvaria.volume import BinaryVolume


@dataclass(frozen=True)
class FakePrepared:
    volume: BinaryVolume


class FakePredictor:
    """Completes a volume by its own mirror image along the first axis. `fail` may raise for a batch, given its volumes."""

    task = COMPLETION

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fail: Callable[[list[BinaryVolume]], None] = lambda volumes: None

    def prepare(self, volume: BinaryVolume) -> FakePrepared:
        if not volume.occupied:
            raise CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty.")
        return FakePrepared(volume)

    def infer(self, batch: Sequence[FakePrepared]) -> list[np.ndarray]:
        self.batches.append(len(batch))
        self.fail([prepared.volume for prepared in batch])
        return [prepared.volume.mask[::-1] for prepared in batch]

    def finish(self, prepared: FakePrepared, inferred: np.ndarray) -> dict[str, BinaryVolume]:
        volume = prepared.volume
        return {"completed": volume.like(volume.mask | inferred), "implant": volume.like(inferred & ~volume.mask)}


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()
