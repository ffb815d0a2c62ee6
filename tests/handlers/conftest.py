"""The handler's module, loaded from its file as TorchServe does."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HANDLER = Path(__file__).resolve().parents[2] / "handlers" / "calvaria_handler.py"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calvaria_handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(autouse=True)
def _arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TorchServe starts a worker with."""
    monkeypatch.setattr("sys.argv", ["worker", "--sock-type", "unix", "--sock-name", "/tmp/.ts.sock.9003", "--metrics-config", "m.yaml"])
