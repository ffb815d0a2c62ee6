"""A run on three small skulls, for tests of how runs go."""

from dataclasses import replace

from calvaria.networks import NetworkConfig
from calvaria.tasks import Settings
from calvaria.tasks.closeup import INPUTS
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="completion",
    seed=5,
    network=NetworkConfig((4, 4, 8, 8, 8, 8, 8)),
    settings=Settings(spacing_mm=6.0),
    data=DataConfig(skulls=3, finer=1.5),
    optimizer=OptimizerConfig(steps=6, batch=2, warmup=2),
    validate_every=3,
    validation_skulls=2,
)

GRADED = replace(CONFIG, network=replace(CONFIG.network, inputs=1, keep_above=-2.0), settings=replace(CONFIG.settings, occupied_share=0.1))
LOOK_AGAIN = replace(
    GRADED,
    second=True,
    network=replace(CONFIG.network, inputs=INPUTS, grows=False),
    settings=replace(GRADED.settings, spacing_mm=4.0),
    data=replace(CONFIG.data, distinct=2, finer=1.0),
)
