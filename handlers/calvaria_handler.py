"""TorchServe's side of the service: its batches become requests, responses become its answers, and measurements its metrics.

TorchServe wants exactly one class in this module.
"""

import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import torch
from ts.context import Context
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

import calvaria
from calvaria.inference import BUDGET_BYTES
from calvaria.predictor import Predictor
from calvaria.server.archive import VERSION_FILE
from calvaria.serving.heap import share_one_heap
from calvaria.serving.logline import request_line
from calvaria.serving.service import Limits, Model, Request, Response, Service
from calvaria.serving.wire import WARNING_HEADER
from calvaria.weights import weights_sha256

log = logging.getLogger(__name__)


class CalvariaHandler:
    """One worker's service."""

    service: Service

    def initialize(self, context: Context) -> None:
        """Load the weights. An archive beside another version of the library is refused."""
        share_one_heap()
        folder = Path(context.system_properties["model_dir"])
        built_with = (folder / VERSION_FILE).read_text().strip()
        if built_with != calvaria.__version__:
            raise RuntimeError(
                f"this archive was built with calvaria {built_with}, but calvaria {calvaria.__version__} is installed: "
                "build it again with archive/build.py, or install the other version"
            )
        config = context.model_yaml_config
        budget_bytes = config.get("network_mib", BUDGET_BYTES >> 20) << 20
        predictor = Predictor.load(folder, device=_device(context), engine=config.get("engine", "auto"), budget_bytes=budget_bytes)
        predictor.warm_up()
        self.service = Service(predictor, Limits(**config["limits"]), Model(_version(context), weights_sha256(folder)))

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[bytes]:
        """One answer per request, in order; each with its own status and headers."""
        headers = (context.get_all_request_header(i) for i in range(len(data)))
        requests = [Request.from_parts(parts, header) for parts, header in zip(data, headers, strict=True)]
        responses = self.service.handle(requests)
        for i, response in enumerate(responses):
            _describe(response, context, i)
            _measure_request(response, context, i)
            log.info(request_line(context.get_request_id(i), context.model_name, len(data), requests[i], response))
        _measure_batch(len(data), self.service.predictor.device, context)
        return [response.body for response in responses]


def _device(context: Context) -> str:
    gpu = context.system_properties["gpu_id"]
    if gpu is not None and not torch.cuda.is_available():
        log.warning(
            "TorchServe gives GPU %s, but this build of PyTorch (%s) cannot use it: the model runs on the CPU", gpu, torch.__version__
        )
        return "cpu"
    return "cpu" if gpu is None else f"cuda:{gpu}"


def _version(context: Context) -> str:
    """Of the archive, as its manifest has it."""
    return str((context.manifest or {}).get("model", {}).get("modelVersion", ""))


def _describe(response: Response, context: Context, i: int) -> None:
    """Status, type, stage times and warnings of one answer. The phrase is HTTP's own: other text could break the worker's protocol."""
    context.set_response_status(response.status, HTTPStatus(response.status).phrase, i)
    context.set_response_content_type(i, response.content_type)
    timing = ", ".join(f"{stage};dur={1000 * seconds:.3f}" for stage, seconds in response.seconds.items())
    context.set_response_header(i, "Server-Timing", timing)
    if response.warnings:
        context.set_response_header(i, WARNING_HEADER, " ".join(notice.message for notice in response.warnings))


def _measure_request(response: Response, context: Context, i: int) -> None:
    for stage, seconds in response.seconds.items():
        _emit(context, "calvaria_stage_seconds", seconds, "s", MetricTypes.HISTOGRAM, i, Stage=stage)
    _emit(context, "calvaria_requests_total", 1, "count", MetricTypes.COUNTER, i, Code=response.code)
    if response.occupied:
        _emit(context, "calvaria_occupied_voxels_total", response.occupied, "count", MetricTypes.COUNTER, i)


def _measure_batch(size: int, device: torch.device, context: Context) -> None:
    worker = str(psutil.Process().pid)
    _emit(context, "calvaria_batch_size", size, "count", MetricTypes.HISTOGRAM)
    _emit(context, "calvaria_worker_memory_bytes", psutil.Process().memory_info().rss, "B", MetricTypes.GAUGE, Worker=worker)
    if device.type == "cuda":
        _emit(context, "calvaria_gpu_memory_bytes", torch.cuda.max_memory_reserved(device), "B", MetricTypes.GAUGE, Worker=worker)


def _emit(context: Context, name: str, value: float, unit: str, kind: MetricTypes, i: int = 0, **dimensions: str) -> None:
    """One line of metrics. The dimensions are those of metrics.yaml, in its order; TorchServe appends ModelName and Level to this list."""
    labels = [Dimension(label, text) for label, text in dimensions.items()]
    context.metrics.add_metric(name, value, unit, i, labels, kind)
