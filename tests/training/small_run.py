"""A run on three small skulls, for tests of how runs go."""

from calvaria.networks import NetworkConfig
from calvaria.tasks import Settings
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
