"""Which device a worker computes on: the one that TorchServe gives it."""

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import calvaria
from calvaria.inference import BUDGET_BYTES
from calvaria.io import decode, encode
from calvaria.server.archive import VERSION_FILE
from calvaria.serving.messages import Response
from calvaria.serving.service import Limits
from calvaria.synthetic import cut_defect, make_skull
from calvaria.weights import WEIGHTS, model_folder

pytest.importorskip("ts", reason="TorchServe is not installed")


def folder_with(tmp_path: Path) -> Path:
    (tmp_path / VERSION_FILE).write_text(calvaria.__version__)
    for file in model_folder("completion").iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def context(folder: Path, gpu: int | None) -> Any:
    properties = {"model_dir": str(folder), "gpu_id": gpu}
    config = {"limits": {}, "engine": "auto"}
    return SimpleNamespace(
        system_properties=properties | {"batch_size": 4}, model_name="completion", model_yaml_config=config, manifest={}, metrics=Mock()
    )


def initialize(module: ModuleType, asked: Any) -> Any:
    handler = module.CalvariaHandler()
    handler.initialize(asked)
    handler.pulse.stop()
    return handler


@pytest.mark.parametrize(
    ("gpu", "present", "device"), [(None, True, "cpu"), (0, True, "cuda:0"), (1, True, "cuda:1"), (None, False, "cpu")]
)
def test_a_worker_loads_onto_the_gpu_it_was_given(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: int | None, present: bool, device: str
) -> None:
    asked: list[str] = []
    current: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(module.Predictor, "load", lambda folder, device, **_: asked.append(device) or Mock())
    monkeypatch.setattr(module, "Service", lambda *arguments: None)
    initialize(module, context(folder_with(tmp_path), gpu))
    assert asked == [device]
    assert current == [each for each in asked if each != "cpu"]


def test_a_worker_whose_gpu_answers_nothing_any_more_ends_so_that_another_takes_its_place(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = [200, 500]
    handler = module.CalvariaHandler()
    handler.service = SimpleNamespace(
        predictor=SimpleNamespace(device=torch.device("cuda:0")),
        handle=lambda _: [Response(b"", status, "ok", "", {}, 0, ()) for status in statuses],
    )
    asked = Mock(model_name="completion", get_all_request_header=lambda _: {}, get_request_id=lambda _: "1")
    bodies = [{"body": b""}, {"body": b""}]
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert len(handler.handle(bodies, asked)) == 2
    monkeypatch.setattr(torch.cuda, "synchronize", Mock(side_effect=RuntimeError("CUDA error: an illegal memory access")))
    with pytest.raises(SystemExit):
        handler.handle(bodies, asked)
    statuses[1] = 200
    assert len(handler.handle(bodies, asked)) == 2


@pytest.mark.parametrize(("network_mib", "budget_bytes"), [(3, 3 << 20), (1.5, 3 << 19), (None, BUDGET_BYTES)])
def test_a_worker_is_warm_and_within_its_budget_before_it_serves(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network_mib: float | None, budget_bytes: int
) -> None:
    done: list[str] = []
    predictor = Mock(warm_up=lambda: done.append("warm"))
    monkeypatch.setattr(module.Predictor, "load", lambda folder, budget_bytes, **_: done.append(f"{budget_bytes} bytes") or predictor)
    monkeypatch.setattr(module, "Service", lambda *arguments: done.append("serves"))
    asked = context(folder_with(tmp_path), None)
    asked.model_yaml_config["network_mib"] = network_mib
    initialize(module, asked)
    assert done == [f"{budget_bytes} bytes", "warm", "serves"]


@pytest.mark.parametrize("config", [{}, {"limits": None}, {"limits": {"max_voxels": 8}}])
def test_limits_that_a_configuration_leaves_out_are_the_usual_ones(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    taken: list[Limits] = []
    monkeypatch.setattr(module.Predictor, "load", lambda folder, **_: Mock())
    monkeypatch.setattr(module, "Service", lambda predictor, limits, model: taken.append(limits))
    asked = context(folder_with(tmp_path), None)
    asked.model_yaml_config = config
    initialize(module, asked)
    assert taken == [Limits(**(config.get("limits") or {}))]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.skipif(not (model_folder("completion") / WEIGHTS).exists(), reason="there are no weights: `make train`")
def test_a_worker_on_a_gpu_answers_as_one_without(module: ModuleType, tmp_path: Path) -> None:
    folder, skull = folder_with(tmp_path), make_skull(11, 1.5)
    bodies = [encode(cut_defect(skull, seed).defective, "nrrd") for seed in (7, 8, 9)]
    answers = []
    for gpu in (0, None):
        handler = initialize(module, context(folder, gpu))
        requests = [module.Request(body, {"output": "implant"}) for body in bodies]
        responses = handler.service.handle(requests)
        assert [response.code for response in responses] == ["ok"] * 3
        answers.append([decode(response.body).volume.mask for response in responses])
    for ours, theirs in zip(*answers, strict=True):
        assert np.count_nonzero(ours != theirs) <= 0.01 * max(1, np.count_nonzero(theirs))
