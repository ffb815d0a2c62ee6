"""The tasks beside completion, as they ship, on one real server and over both transports."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calvaria.client import Client, GrpcClient
from calvaria.client.codec import Caller
from calvaria.client.local import LocalClient
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.metrics import dice
from calvaria.labels import LabelMap
from calvaria.predictor import Predictor
from calvaria.server.archive import build_archive
from calvaria.server.server import Server
from calvaria.synthetic import make_skull
from calvaria.synthetic.coarse import scan
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.volume import BinaryVolume
from tests.io.scans import scan_file

ROOT = Path(__file__).resolve().parents[2]
TASKS = "super-resolution", "refinement"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("tasks")
    for task in TASKS:
        build_archive(ROOT / "models" / task, ROOT / "handlers" / "calvaria_handler.py", store)
    with Server.apart(tmp_path_factory.mktemp("server"), ROOT / "config.properties", model_store=str(store)) as server:
        yield server


@pytest.fixture(scope="module", params=["HTTP", "gRPC"])
def caller(both: Server, request: pytest.FixtureRequest) -> Iterator[Caller]:
    of_transport = {
        "HTTP": lambda: Client(both.settings.url("inference"), key_file=both.key_file),
        "gRPC": lambda: GrpcClient(both.settings.grpc_target, key_file=both.key_file),
    }
    with of_transport[request.param]() as client:
        yield client


def local(task: str) -> LocalClient:
    return LocalClient(Predictor.load(ROOT / "models" / task))


@pytest.fixture(scope="module")
def coarse() -> BinaryVolume:
    return scan(make_skull(31, 2.0), (4.0, 4.0, 4.0), "mean")


@pytest.fixture(scope="module")
def organ() -> RefinementCase:
    return make_case(42, "trachea", (0.8, 0.85), 0.0, imaged=True)


def test_a_coarse_skull_becomes_finer_by_a_factor_and_by_an_edge(caller: Caller, coarse: BinaryVolume) -> None:
    twice = caller.predict("super-resolution", coarse)
    assert twice.shape == tuple(2 * count for count in coarse.shape)
    assert twice.voxel_mm3 == pytest.approx(coarse.voxel_mm3 / 8)
    expected = local("super-resolution").predict("super-resolution", coarse)
    np.testing.assert_array_equal(twice.mask, expected.mask)
    by_edge = caller.predict("super-resolution", coarse, spacing_mm=2.0)
    assert by_edge.same_grid(twice)
    assert dice(by_edge.mask, twice.mask) == 1


def test_an_organ_is_refined_and_more_so_with_its_scan(caller: Caller, organ: RefinementCase) -> None:
    assert organ.image is not None
    image = scan_file(organ.image, organ.given.origin_mm, organ.given.spacing_mm)
    before = dice(organ.given.mask, organ.truth.mask)
    alone, seen = caller.predict("refinement", organ.given), caller.predict("refinement", organ.given, image=image)
    np.testing.assert_array_equal(seen.mask, local("refinement").predict("refinement", organ.given, image=image).mask)
    assert dice(alone.mask, organ.truth.mask) > before
    assert dice(seen.mask, organ.truth.mask) > before


def test_labels_stay_apart(caller: Caller, organ: RefinementCase) -> None:
    labels = np.where(organ.given.mask, np.uint8(3), np.uint8(0))
    labels[: len(labels) // 2][labels[: len(labels) // 2] > 0] = 7
    answer = caller.predict("refinement", LabelMap.of(labels, organ.given))
    assert isinstance(answer, LabelMap)
    assert answer.present == [3, 7]


@pytest.mark.parametrize(
    ("task", "options", "code"),
    [
        ("super-resolution", {"factor": 2.0, "spacing_mm": 1.0}, ErrorCode.BAD_OPTION),
        ("super-resolution", {"spacing_mm": 9.0}, ErrorCode.BAD_OPTION),
        ("super-resolution", {"smallest_mm3": 9.0}, ErrorCode.UNKNOWN_OPTION),
        ("refinement", {"factor": 2.0}, ErrorCode.UNKNOWN_OPTION),
    ],
)
def test_what_a_task_cannot_do_is_refused(caller: Caller, coarse: BinaryVolume, task: str, options: dict, code: ErrorCode) -> None:
    with pytest.raises(CalvariaError) as refusal:
        caller.predict(task, coarse, **options)
    assert refusal.value.code is code
