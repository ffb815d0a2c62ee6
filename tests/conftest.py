"""What several folders of tests need: a predictor without a network, and a real server with a model of random weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Canonical, to_canonical
from calvaria.predictor import Asked
from calvaria.server.server import Server
from calvaria.tasks import Extras, Settings
from calvaria.tasks.completion import COMPLETION
from calvaria.volume import BinaryVolume

settings.register_profile("calvaria", deadline=None)  # a busy machine is not a failing test
settings.load_profile("calvaria")

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, eq=False)
class FakePrepared:
    volume: BinaryVolume
    grid = SimpleNamespace(spacing_mm=1.0)
    waiting_bytes = 0

    @property
    def sites(self) -> np.ndarray:
        return self.volume.mask

    @property
    def shares(self) -> np.ndarray:
        return self.volume.mask

    @property
    def canonical(self) -> Canonical:
        return to_canonical(self.volume)

    @property
    def answer(self) -> BinaryVolume:
        return self.volume


class FakePredictor:
    """Completes a volume by its own mirror image along the first axis, unless the threshold is above 0.9.

    `fail` may raise for a batch, given its volumes.
    """

    task = COMPLETION
    settings = Settings(spacing_mm=1.0)
    engine = "fake"
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fail: Callable[[list[BinaryVolume]], None] = lambda volumes: None

    def warm_up(self) -> None:
        """It is always warm."""

    def ask(self, volume: BinaryVolume, extras: Extras) -> list[Asked]:
        if not volume.occupied:
            raise CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty.")
        return [Asked(FakePrepared(volume))]

    def infer(self, batch: Sequence[FakePrepared], each: Callable[..., object] = map) -> list[np.ndarray]:
        self.batches.append(len(batch))
        self.fail([prepared.volume for prepared in batch])
        return [prepared.volume.mask[::-1] for prepared in batch]

    def answer(
        self, volume: BinaryVolume, asked: Sequence[Asked], inferred: Sequence[np.ndarray], settings: Settings
    ) -> dict[str, BinaryVolume]:
        added = inferred[0] & (settings.threshold <= 0.9)
        return {"completed": volume.like(volume.mask | added), "implant": volume.like(added & ~volume.mask)}


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """completion.mar as the project ships it, but with random weights, so that it exists before any training."""
    from calvaria.networks import CONFIGS, EncoderDecoder
    from calvaria.server.archive import build_archives
    from calvaria.tasks import TASKS
    from calvaria.weights import CLOSE_UP, WEIGHTS, save_weights

    models = tmp_path_factory.mktemp("models")
    copytree(ROOT / "models" / "completion", models / "completion", ignore=ignore_patterns(CLOSE_UP))
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS["ch1"])
    for level in network.decoder:
        torch.nn.init.constant_(level.head.bias, 3.0)  # in favour of keeping sites, so that every answer adds something
    save_weights(models / "completion" / WEIGHTS, network, TASKS["completion"], Settings(spacing_mm=4.0))
    store = tmp_path_factory.mktemp("model_store")
    build_archives(models, ROOT / "handlers" / "calvaria_handler.py", store)
    return store


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real TorchServe on the project's configuration, but for free ports."""
    with Server.apart(tmp_path_factory.mktemp("server"), ROOT / "config.properties", model_store=str(model_store)) as server:
        yield server


@pytest.fixture(scope="module", params=["reference", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """The sparse engines that this machine can run, one after the other."""
    from calvaria.errors import CalvariaError
    from calvaria.sparse.engines import choose

    try:
        return choose(request.param, "cpu")
    except CalvariaError as obstacle:
        pytest.skip(str(obstacle))
