"""The engine that a model's configuration names is what computes behind a real TorchServe."""

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from calvaria.client import Client
from calvaria.evaluation.metrics import dice
from calvaria.predictor import Predictor
from calvaria.server.server import Server
from calvaria.server.settings import MODEL_CONFIG
from calvaria.volume import BinaryVolume

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(find_spec("MinkowskiEngine") is None, reason="MinkowskiEngine is not installed: `make minkowski`"),
]

ROOT = Path(__file__).resolve().parents[2]


def notched_shell() -> BinaryVolume:
    """A hollow ellipsoid with a hole, 4 mm voxels."""
    radius = np.sqrt(sum(axis**2 for axis in np.ogrid[-1:1:34j, -1:1:40j, -1:1:36j]))
    mask = (radius < 0.95) & (radius > 0.7)
    mask[20:, 22:, 20:] = False
    return BinaryVolume.on_grid(mask, (4.0, 4.0, 4.0))


def test_minkowskiengine_serves_what_our_own_engine_answers(model_store: Path, tmp_path: Path) -> None:
    store, own = tmp_path / "store", tmp_path / "completion"
    store.mkdir()
    with zipfile.ZipFile(model_store / "completion.mar") as shipped, zipfile.ZipFile(store / "completion.mar", "w") as changed:
        shipped.extractall(own)
        for name in shipped.namelist():
            content = shipped.read(name)
            changed.writestr(name, content.replace(b"engine: auto", b"engine: minkowski") if name == MODEL_CONFIG else content)
    volume = notched_shell()
    with (
        Server.apart(tmp_path / "server", ROOT / "config.properties", model_store=str(store)) as server,
        Client(server.settings.url("inference"), key_file=server.key_file, timeout_s=120) as client,
    ):
        served = client.predict("completion", volume, output="completed")
        assert any("engine minkowski" in log.read_text(errors="replace") for log in (server.folder / "logs").glob("*.log"))
    expected = Predictor.load(own).predict([volume])[0]["completed"]
    assert expected.occupied > volume.occupied
    assert dice(served.mask, expected.mask) >= 0.999
