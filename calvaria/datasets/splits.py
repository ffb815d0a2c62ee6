"""Which skulls are for training and which for testing."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol, TypeVar


class OfHead(Protocol):
    """A case, and the head (or chest) it is of."""

    @property
    def skull(self) -> str: ...


C = TypeVar("C", bound=OfHead)


def split(pairs: Sequence[C], test_share: float = 0.2, seed: int = 0) -> tuple[list[C], list[C]]:
    """The pairs to train on and those to test on, in their order: by skull, never by defect.

    Skulls are ranked by a hash of their names and the seed, and the first of them, rounded to `test_share`, are for testing: at least one
    and not all, where there are two and the share is neither 0 nor 1. The answer does not depend on the order of the pairs. ValueError for
    a share outside 0 to 1.
    """
    if not 0 <= test_share <= 1:
        raise ValueError(f"test_share must lie between 0 and 1, not {test_share}")
    skulls = sorted({pair.skull for pair in pairs}, key=lambda skull: sha256(f"{seed}/{skull}".encode(errors="surrogateescape")).digest())
    count = round(test_share * len(skulls))
    if 0 < test_share < 1 and len(skulls) > 1:
        count = min(max(count, 1), len(skulls) - 1)
    tested = set(skulls[:count])
    return [pair for pair in pairs if pair.skull not in tested], [pair for pair in pairs if pair.skull in tested]
