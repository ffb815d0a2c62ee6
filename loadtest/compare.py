"""Every answer against what the same weights say of the same body here, voxel by voxel."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

import numpy as np

from calvaria.client import Answer
from calvaria.errors import CalvariaError
from calvaria.io import decode
from calvaria.predictor import Predictor
from calvaria.serving.report import REPORT_FILE
from calvaria.volume import BinaryVolume
from loadtest.record import Verdict
from loadtest.workload import OK, Item

Volumes = Mapping[str, BinaryVolume]
"""Volumes by output."""


class Answers:
    """The distinct answers to each item, by fingerprint. Equal files are equal voxels, so that each is kept and judged once."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, int], dict[str, bytes]] = {}

    def keep(self, item: Item, body: bytes) -> str:
        """The fingerprint of an answer, which is kept."""
        mark = fingerprint(body)
        self._bodies.setdefault((item.ingredient, item.variant), {}).setdefault(mark, body)
        return mark

    def verdicts(self, items: Iterable[Item], predictor: Predictor) -> Iterator[Verdict]:
        """One for every distinct answer to any of the items. Volumes for items that should have been refused have a problem too."""
        for item in items:
            bodies = self._bodies.get((item.ingredient, item.variant), {})
            expected = predicted(item, predictor) if bodies else {}
            for mark, body in bodies.items():
                yield Verdict(item.ingredient, item.variant, mark, problem(body, expected))


def fingerprint(body: bytes) -> str:
    """Hash of an answer's files. A report tells times, which always differ, so it is left out."""
    try:
        files = Answer(body).files or {"": body}
    except CalvariaError:  # a ZIP that cannot be read is no one's twin
        files = {"": body}
    mark = sha256()
    for name, content in sorted(files.items()):
        if name != REPORT_FILE:
            mark.update(name.encode() + b"\0" + content)
    return mark.hexdigest()[:32]


def predicted(item: Item, predictor: Predictor) -> Volumes:
    """The local answer to an item; nothing if it should be refused."""
    if OK not in item.expected:
        return {}
    outputs = predictor.predict([decode(item.body).volume])[0]
    asked = item.options.get("output", next(iter(outputs)))
    names = (name.strip(" ") for name in asked.split(","))  # as a server reads them
    return {name: outputs[name] for name in names}


def problem(body: bytes, expected: Volumes) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if not expected:
        return "an answer where a refusal was due"
    try:
        answer = Answer(body)
        volumes = answer.prediction.volumes if answer.files else dict.fromkeys(expected, answer.volume)
    except CalvariaError as error:
        return f"no volume: {error.code.value}"
    except ValueError as error:
        return f"no report: {error}"
    if volumes.keys() != expected.keys():
        return f"{', '.join(volumes)} where {', '.join(expected)} were asked for"
    return "; ".join(f"{name}: {what}" for name in expected if (what := _difference(volumes[name], expected[name])))


def _difference(volume: BinaryVolume, expected: BinaryVolume) -> str:
    if not volume.same_grid(expected):
        return f"another grid, {volume.shape} for {expected.shape}"
    differing = int(np.count_nonzero(volume.mask != expected.mask))
    return f"{differing} voxels differ" if differing else ""
