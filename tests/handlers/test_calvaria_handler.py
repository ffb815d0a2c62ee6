"""The handler between a stand-in for TorchServe's side and a stand-in for the predictor."""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import calvaria
from calvaria.errors import ErrorCode
from calvaria.io import decode, encode
from calvaria.serving.report import Report
from calvaria.serving.service import STAGES, Model, Service
from calvaria.serving.wire import unpack
from calvaria.volume import BinaryVolume

pytest.importorskip("ts", reason="TorchServe is not installed")
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import TsModelLoader
from ts.utils.util import list_classes_from_module

ROOT = Path(__file__).resolve().parents[2]
HANDLER = ROOT / "handlers" / "calvaria_handler.py"
VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((6, 5, 4)) < 0.3, (1, 1, 1))
GOOD = encode(VOLUME, "nrrd")

# How TorchServe's front end reads a line of metrics; anything else is dropped.
METRIC_LINE = re.compile(r"\s*([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)(\|#type:([^|,]+))?\|#hostname:([^,]+),([^,]+)(,(.*))?")


@pytest.fixture
def handler(module, predictor):
    handler = module.CalvariaHandler()
    handler.service = Service(predictor)
    return handler


def context(headers: list[Mapping[str, object]], folder: Path = ROOT) -> Context:
    metrics = MetricsCacheYamlImpl(str(ROOT / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = "completion"
    manifest = {"model": {"modelVersion": "7"}}
    made = Context(
        "completion", str(folder), manifest, 4, None, "0.12.0", metrics=metrics, model_yaml_config={"limits": {"max_voxels": 1000}}
    )
    made.request_processor = [RequestProcessor(dict(each)) for each in headers]
    made.request_ids = {i: f"request-{i}" for i in range(len(headers))}
    metrics.request_ids = made.request_ids or "a request to load"
    return made


def test_one_class_and_no_other_way_to_load_it(module):
    assert [each.__name__ for each in list_classes_from_module(module)] == ["CalvariaHandler"]
    assert not hasattr(module, "handle")


def test_every_item_gets_its_own_status_type_and_times(handler):
    data = [{"body": bytearray(GOOD)}, {"body": bytearray()}, {"volume": bytearray(GOOD), "output": bytearray(b"implant")}, {"body": b"?"}]
    asked = context([{"X-Calvaria-Format": "nii", "body": {"content-type": "text/plain"}}, {}, {}, {}])
    bodies = handler.handle(data, asked)
    assert [asked.get_response_status(i) for i in range(4)] == [
        (200, "OK"),
        (400, "Bad Request"),
        (200, "OK"),
        (415, "Unsupported Media Type"),
    ]
    types = [asked.get_response_content_type(i) for i in range(4)]
    assert types == ["application/x-nifti", "application/json", "application/x-nrrd", "application/json"]
    assert decode(bodies[0]).format == "nii"
    assert json.loads(bodies[1])["error"]["code"] == "empty-body"
    np.testing.assert_array_equal(decode(bodies[2]).volume.mask, VOLUME.mask[::-1] & ~VOLUME.mask)
    timing = asked.get_response_headers(0)["Server-Timing"]
    assert re.fullmatch(", ".join(rf"{stage};dur=\d+\.\d{{3}}" for stage in STAGES), timing)


def test_what_was_assumed_travels_as_a_header(handler):
    vague = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes([1] * 7 + [0])
    asked = context([{}, {}, {}])
    handler.handle([{"body": vague}, {"body": GOOD}, {"body": b""}], asked)
    assert "1 mm voxels" in asked.get_response_headers(0)["X-Calvaria-Warning"]
    assert "1 mm voxels" not in asked.get_response_headers(1)["X-Calvaria-Warning"]
    assert "X-Calvaria-Warning" not in asked.get_response_headers(2)


def test_every_request_is_a_line_of_the_log_under_its_own_id(handler, caplog):
    caplog.set_level("INFO")
    handler.handle([{"body": GOOD}, {"body": b""}], context([{}, {}]))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.getMessage().startswith("{")]
    assert [(line["request"], line["model"], line["code"], line["batch"]) for line in lines] == [
        ("request-0", "completion", "ok", 2),
        ("request-1", "completion", "empty-body", 2),
    ]


def test_several_outputs_are_a_zip_whose_report_names_the_model(handler, module):
    handler.service.model = Model("0.1.0", {"weights.safetensors": "ab"})
    asked = context([{"X-Calvaria-Output": "completed,implant", "X-Calvaria-Smallest-Mm3": "0", "X-Calvaria-Format": "stl"}])
    (body,) = handler.handle([{"body": GOOD}], asked)
    assert asked.get_response_content_type(0) == "application/zip"
    files = unpack(body)
    report = Report.from_json(files["report.json"])
    assert set(files) == {"completed.stl", "implant.stl", "report.json"}
    assert (report.model, report.weights) == ("0.1.0", {"weights.safetensors": "ab"})
    assert report.options["smallest_mm3"] == 0


def test_phrases_are_one_line_of_ascii():
    from http import HTTPStatus

    for code in ErrorCode:
        assert HTTPStatus(code.status).phrase.isascii()
        assert HTTPStatus(code.status).phrase.isprintable()


@pytest.fixture
def on_a_gpu(module, monkeypatch):
    """What PyTorch says of a worker's own GPU, number 1."""
    peaks = iter([1000, 3000])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None if device.index == 1 else pytest.fail("another GPU"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: next(peaks) if device.index == 1 else 0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5000 + device.index)


@pytest.fixture
def started(module, predictor, tmp_path, monkeypatch):
    """A handler that TorchServe has started as the worker of socket 9003."""
    monkeypatch.setattr(module.Predictor, "load", lambda folder, **_: predictor)
    (tmp_path / "calvaria-version.txt").write_text(calvaria.__version__)
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    handlers = []

    def start():
        handlers.append(module.CalvariaHandler())
        handlers[-1].initialize(context([], tmp_path))
        return handlers[-1]

    yield start
    for handler in handlers:
        handler.pulse.stop()


def emitted(caplog):
    """Every line of metrics so far, as TorchServe reads it: name, type, dimensions, value."""
    lines = [record.message.removeprefix("[METRICS]") for record in caplog.records if record.message.startswith("[METRICS]")]
    matches = [METRIC_LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [(match[1], match[6].lower(), dict(each.split(":") for each in match[4].split(",")), float(match[3])) for match in matches]


@pytest.mark.usefixtures("on_a_gpu")
def test_metrics_are_lines_that_torchserve_can_read_and_metrics_yaml_declares(started, predictor, caplog):
    declared = yaml.safe_load((ROOT / "metrics.yaml").read_text())["model_metrics"]
    dimensions = {metric["name"]: (kind, metric["dimensions"]) for kind, metrics in declared.items() for metric in metrics}
    caplog.set_level("INFO")
    predictor.device = torch.device("cuda:1")
    started().handle([{"body": GOOD}, {"body": b""}], context([{}, {}]))
    lines = emitted(caplog)
    for name, kind, labels, _ in lines:
        assert (kind, list(labels)) == dimensions[name]
    assert {name for name, *_ in lines} == set(dimensions)
    codes = [labels["Code"] for name, _, labels, value in lines if name == "calvaria_requests_total" and value == 1]
    assert codes == ["ok", "empty-body"]


def test_a_worker_in_a_dead_ones_place_has_its_name(started, caplog):
    caplog.set_level("INFO")
    for _ in range(2):
        started()
    lines = emitted(caplog)
    starts = [(labels["WorkerName"], value) for name, _, labels, value in lines if name == "calvaria_worker_starts_total"]
    assert starts == [("W-9003-completion_7", 1)] * 2
    assert {labels["WorkerName"] for name, _, labels, _ in lines if "memory" in name} == {"W-9003-completion_7"}
    assert {value for name, *_, value in lines if name == "calvaria_batch_limit"} == {4}


@pytest.mark.usefixtures("on_a_gpu")
def test_gpu_memory_is_that_of_the_workers_own_gpu_and_of_each_batch(started, predictor, caplog):
    caplog.set_level("INFO")
    started().handle([{"body": GOOD}], context([{}]))
    assert "gpu" not in caplog.text, "this worker is on the CPU"
    predictor.device = torch.device("cuda:1")
    handler = started()
    for _ in range(2):
        handler.handle([{"body": GOOD}], context([{}]))
    lines = emitted(caplog)
    assert [value for name, *_, value in lines if name == "calvaria_batch_gpu_peak_bytes_sum"] == [0, 1000, 3000]
    assert {value for name, *_, value in lines if name == "calvaria_worker_gpu_memory_bytes"} == {5001}


@pytest.mark.parametrize(("version", "fits"), [(calvaria.__version__, True), ("0.0.9", False)])
def test_an_archive_beside_another_version_is_refused(module, predictor, tmp_path, monkeypatch, version, fits):
    monkeypatch.setattr(module.Predictor, "load", lambda folder, device, **_: predictor)
    (tmp_path / "calvaria-version.txt").write_text(version + "\n")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    handler = module.CalvariaHandler()
    if fits:
        handler.initialize(context([], tmp_path))
        handler.pulse.stop()
        assert handler.service.limits.max_voxels == 1000
        assert handler.service.model == Model("7", {"weights.safetensors": sha256(b"weights").hexdigest()})
    else:
        with pytest.raises(RuntimeError, match=rf"0\.0\.9.*{re.escape(calvaria.__version__)}"):
            handler.initialize(context([], tmp_path))


def test_torchserve_loads_it(predictor, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HANDLER.parent)
    loaded, function = TsModelLoader()._load_handler_file(HANDLER.name)
    assert (loaded.__name__, function) == ("calvaria_handler", None)
