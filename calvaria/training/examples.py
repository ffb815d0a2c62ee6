"""Which examples a run learns from, and which it is judged by, as its configuration says."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from calvaria.errors import bad_option
from calvaria.synthetic.seeds import TRAINING, VALIDATION
from calvaria.training.config import DataConfig, TrainConfig
from calvaria.training.data import EXAMPLES, Draw, Example, Examples, KeptExamples
from calvaria.training.lessons import LESSONS
from calvaria.training.skulls import Source
from calvaria.weights import WEIGHTS, load_weights, weights_sha256


def training_seeds(config: TrainConfig) -> range:
    return TRAINING[: config.data.skulls]


def validation_seeds(config: TrainConfig) -> range:
    return VALIDATION[: config.validation_skulls]


def training_examples(config: TrainConfig, folder: Path, first: Path | None = None) -> Dataset[Example]:
    count = config.optimizer.steps * config.optimizer.batch
    examples = Examples(draw(config, training_source(config, folder), first), config.seed, count)
    if not config.data.distinct:
        return examples
    kept = folder / _examples_name(config, first)
    return KeptExamples(examples, config.data.distinct, kept, by_turns=LESSONS[config.task].mirrorable)


def _examples_name(config: TrainConfig, first: Path | None) -> str:
    """Folder name of kept examples: it differs where they would, so that no earlier run's are taken for this one's."""
    lesson = LESSONS[config.task]
    made_by = (lesson.made_by(config.data), EXAMPLES, config.seed, config.settings, config.data, config.network.inputs, first_sha256(first))
    given = (lesson.given.sha256(config),) if config.data.cases else ()
    return f"examples-{sha256(repr(made_by + given).encode()).hexdigest()[:12]}"


def first_sha256(first: Path | None) -> str | None:
    """SHA-256 of the first network's weights; None without one."""
    return weights_sha256(first)[WEIGHTS] if first else None


class HeldOut(Dataset[Example]):
    """Examples as they are when served: of every kind, or as they came, none intact, none stretched. One of each head, or case, that
    nothing is learned from, and around again where more are wanted.
    """

    def __init__(self, config: TrainConfig, folder: Path, first: Path | None = None):
        config = replace(config, data=DataConfig(config.data.skulls, config.data.finer, cases=config.data.cases))
        self._sources, self._turn = validation_sources(config, folder), 0
        self._examples = Examples(draw(config, self._source, first), 0, config.validation_skulls)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        self._turn = index % len(self._sources)
        return self._examples[index]

    def _source(self, rng: np.random.Generator) -> Any:
        return self._sources[self._turn](rng)


def training_source(config: TrainConfig, folder: Path) -> Source:
    if config.data.cases:
        given = LESSONS[config.task].given
        return given.drawn(given.cases(config)[0], config.data.stretch, config.data.anew)
    if not config.data.skulls:
        message = "There is nothing to learn from: skulls is 0. Name how many are generated, or a folder of yours with --cases-from."
        raise bad_option(message)
    return LESSONS[config.task].generated(config, folder, training_seeds(config), config.data.stretch)


def validation_sources(config: TrainConfig, folder: Path) -> list[Source]:
    """One for each head, or case."""
    if config.data.cases:
        given = LESSONS[config.task].given
        return [given.drawn([case], 0.0, 0.0) for case in given.cases(config)[1]]
    seeds = validation_seeds(config)
    return [LESSONS[config.task].generated(config, folder, seeds[i : i + 1], 0.0) for i in range(len(seeds))]


def draw(config: TrainConfig, source: Source, first: Path | None) -> Draw:
    """What draws the examples that this network learns from. CalvariaError BAD_OPTION unless a second network has its first."""
    if config.second != bool(first):
        message = "A second network, and no other, is trained with the folder of a first one. Name it with --first, or leave that out."
        raise bad_option(message)
    if config.second and not config.settings.spacing_mm:
        raise bad_option("A second look has cells of its own: spacing_mm cannot be 0.")
    if config.second and not LESSONS[config.task].second:
        raise bad_option(f"{config.task} has no second network: set second = false.")
    if first and (task := load_weights(first / WEIGHTS)[1].name) != config.task:
        raise bad_option(f"The first network in {first} is for {task}, not {config.task}. Name another with --first.")
    return LESSONS[config.task].draw(config, source, first)
