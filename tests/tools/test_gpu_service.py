"""The tool's worker of TorchServe, here on the CPU: that the next minutes on a GPU are not spent on finding out that it does not run."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from calvaria.weights import WEIGHTS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "gpu_service.py"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "models" / "completion" / WEIGHTS).exists(), reason="there are no weights: `make train`")
@pytest.mark.parametrize("installed", [True, False])
def test_a_worker_answers_a_batch(installed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if installed and find_spec("ts") is None:
        pytest.skip("TorchServe is not installed")
    for name in [name for name in sys.modules if name == "ts" or name.startswith("ts.")]:
        monkeypatch.delitem(sys.modules, name)  # given back afterwards
    before = set(sys.modules)
    tool = runpy.run_path(str(TOOL))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    handler = tool["worker"](tool["handler_module"](), gpu=None)
    bodies = tool["volumes"](2, 4.0)
    answers, exchange = tool["ask"](handler, bodies)
    assert exchange.statuses == [200, 200]
    assert exchange.stage("network") > 0
    assert exchange.counted["calvaria_requests_total"] == 2
    assert tool["GPU_PEAK"] not in exchange.counted
    tool["agree"](answers[0], tool["ask"](handler, bodies[:1])[0][0])
    assert ", 0 differ" in capsys.readouterr().out
    for name in set(sys.modules) - before:
        if name == "ts" or name.startswith("ts."):
            del sys.modules[name]
