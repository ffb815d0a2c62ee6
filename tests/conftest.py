"""What several folders of tests need: a real server with a model of random weights, started once."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from calvaria.server.server import Server

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """completion.mar as the project ships it, but with random weights, so that it exists before any training."""
    import torch

    from calvaria.networks import CONFIGS, EncoderDecoder
    from calvaria.server.archive import build_archives
    from calvaria.tasks import TASKS, Settings
    from calvaria.weights import WEIGHTS, save_weights

    models = tmp_path_factory.mktemp("models")
    copytree(ROOT / "models" / "completion", models / "completion")
    torch.manual_seed(0)
    save_weights(models / "completion" / WEIGHTS, EncoderDecoder(CONFIGS["ch1"]), TASKS["completion"], Settings(spacing_mm=4.0))
    store = tmp_path_factory.mktemp("model_store")
    build_archives(models, ROOT / "handlers" / "calvaria_handler.py", store)
    return store


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real TorchServe on the project's configuration, but for free ports."""
    with Server.apart(tmp_path_factory.mktemp("server"), ROOT / "config.properties", model_store) as server:
        yield server
