"""Every answer against what the same weights say of the same body here, voxel by voxel."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

import numpy as np

from calvaria.client import Answer
from calvaria.errors import CalvariaError
from calvaria.io import decode
from calvaria.predictor import Predictor
from calvaria.volume import BinaryVolume
from loadtest.record import Verdict
from loadtest.workload import OK, Item


class Answers:
    """The distinct answers to each item, by fingerprint. Equal bytes are equal voxels, so that each is kept and judged once."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, int], dict[str, bytes]] = {}

    def keep(self, item: Item, body: bytes) -> str:
        """The fingerprint of an answer, which is kept."""
        fingerprint = sha256(body).hexdigest()[:32]
        self._bodies.setdefault((item.ingredient, item.variant), {}).setdefault(fingerprint, body)
        return fingerprint

    def verdicts(self, items: Iterable[Item], predictor: Predictor) -> Iterator[Verdict]:
        """One for every distinct answer to any of the items. Volumes to items that should have been refused have a problem too."""
        for item in items:
            bodies = self._bodies.get((item.ingredient, item.variant), {})
            expected = predicted(item, predictor) if bodies else None
            for fingerprint, body in bodies.items():
                yield Verdict(item.ingredient, item.variant, fingerprint, problem(body, expected))


def predicted(item: Item, predictor: Predictor) -> BinaryVolume | None:
    """The local answer to an item; None if it should be refused."""
    if OK not in item.expected:
        return None
    return predictor.predict([decode(item.body).volume])[0][item.options["output"]]


def problem(body: bytes, expected: BinaryVolume | None) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if expected is None:
        return "a volume where a refusal was due"
    try:
        answer = Answer(body).volume
    except CalvariaError as error:
        return f"no volume: {error.code.value}"
    if not answer.same_grid(expected):
        return f"another grid: {answer.shape} for {expected.shape}"
    differing = int(np.count_nonzero(answer.mask != expected.mask))
    return f"{differing} voxels differ" if differing else ""
