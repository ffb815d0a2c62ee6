"""TorchServe's side of the service: its batches become requests, responses become its answers, and measurements its metrics.

TorchServe wants exactly one class in this module.
"""

import logging
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import torch
from ts.arg_parser import ArgParser
from ts.context import Context
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

import calvaria
from calvaria.inference import BUDGET_BYTES
from calvaria.predictor import Predictor
from calvaria.server.archive import VERSION_FILE
from calvaria.serving.heap import share_one_heap
from calvaria.serving.logline import request_line
from calvaria.serving.measures import Increment, at_start, of_batch
from calvaria.serving.pulse import Pulse
from calvaria.serving.service import STAGES, Limits, Model, Request, Response, Service
from calvaria.serving.wire import TIMING_HEADER, WARNING_HEADER, header_text, timing_text
from calvaria.weights import weights_sha256

LAST_OF_STREAM = "ts_stream_next"
"""Header by which an answer to gRPC's StreamPredictions says whether another follows: without it, TorchServe ends the worker and its batch.
Over HTTP an answer that has it would lose its status.
"""

log = logging.getLogger(__name__)


class CalvariaHandler:
    """One worker's service."""

    service: Service
    pulse: Pulse

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
        budget_bytes = int((config.get("network_mib") or BUDGET_BYTES / 2**20) * 2**20)
        device = _device(context)
        if device != "cpu":
            torch.cuda.set_device(device)  # kernels are started more quickly on the current one
        predictor = Predictor.load(folder, device=device, engine=config.get("engine", "auto"), budget_bytes=budget_bytes)
        predictor.warm_up()
        self.service = Service(predictor, Limits(**(config.get("limits") or {})), Model(_version(context), weights_sha256(folder)))
        self.pulse = _start_measuring(context, _gpu(predictor.device))

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[bytes]:
        """One answer per request, in order; each with its own status and headers."""
        headers = (context.get_all_request_header(i) for i in range(len(data)))
        requests = [Request.from_parts(parts, header) for parts, header in zip(data, headers, strict=True)]
        gpu = _gpu(self.service.predictor.device)
        if gpu:
            torch.cuda.reset_peak_memory_stats(gpu)
        responses = self.service.handle(requests)
        if gpu and any(response.status == HTTPStatus.INTERNAL_SERVER_ERROR for response in responses):
            _end_if_broken(gpu)
        for i, response in enumerate(responses):
            _describe(response, context, i)
            log.info(request_line(context.get_request_id(i), context.model_name, len(data), requests[i], response))
        _count(context, *of_batch(responses, torch.cuda.max_memory_allocated(gpu) if gpu else None))
        return [response.body for response in responses]


def _device(context: Context) -> str:
    gpu = context.system_properties["gpu_id"]
    if gpu is not None and not torch.cuda.is_available():
        log.warning(
            "TorchServe gives GPU %s, but this build of PyTorch (%s) cannot use it: the model runs on the CPU", gpu, torch.__version__
        )
        return "cpu"
    return "cpu" if gpu is None else f"cuda:{gpu}"


def _end_if_broken(gpu: torch.device) -> None:
    """After some errors every further call to the GPU fails: TorchServe then replaces the worker, if it ends."""
    try:
        torch.cuda.synchronize(gpu)
    except RuntimeError as error:
        log.critical("the GPU answers nothing any more, so this worker ends: %s", error)
        sys.exit(1)


def _gpu(device: torch.device) -> torch.device | None:
    return device if device.type == "cuda" else None


def _version(context: Context) -> str:
    """The archive's version, from its manifest."""
    return str((context.manifest or {}).get("model", {}).get("modelVersion", ""))


def _describe(response: Response, context: Context, i: int) -> None:
    """Status, type, stage times and warnings of one answer. The phrase is HTTP's own: other text could break the worker's protocol."""
    context.set_response_status(response.status, HTTPStatus(response.status).phrase, i)
    context.set_response_content_type(i, response.content_type)
    if response.seconds:
        context.set_response_header(i, TIMING_HEADER, timing_text(response.seconds))
    if response.warnings:
        context.set_response_header(i, WARNING_HEADER, header_text([notice.message for notice in response.warnings]))
    if not any(isinstance(value, str) for value in context.get_all_request_header(i).values()):  # gRPC has none, and HTTP some
        context.set_response_header(i, LAST_OF_STREAM, "false")


def _start_measuring(context: Context, gpu: torch.device | None) -> Pulse:
    """Counters from zero, one start more, and a worker that says from now on that it lives."""
    worker = _worker_name(context)
    _show(context, "calvaria_batch_limit", context.system_properties["batch_size"])
    _count(context, *at_start(STAGES, gpu is not None), Increment("calvaria_worker_starts_total", 1, {"WorkerName": worker}))

    def beat(seconds: float) -> None:
        _count(context, Increment("calvaria_worker_alive_seconds_total", seconds, {"WorkerName": worker}))
        _show(context, "calvaria_worker_memory_bytes", psutil.Process().memory_info().rss, WorkerName=worker)
        if gpu:
            _show(context, "calvaria_worker_gpu_memory_bytes", torch.cuda.memory_reserved(gpu), WorkerName=worker)

    beat(0.0)
    return Pulse(beat)


def _worker_name(context: Context) -> str:
    """The worker's name in TorchServe's log, from its socket's number. One that takes a dead one's place has its name and gauges."""
    arguments, _ = ArgParser.model_service_worker_args().parse_known_args()
    number = arguments.port if arguments.sock_name is None else arguments.sock_name.rsplit(".", 1)[-1]
    return f"W-{number}-{context.model_name}_{_version(context)}"


def _count(context: Context, *increments: Increment) -> None:
    for each in increments:
        _emit(context, each.name, each.value, MetricTypes.COUNTER, each.labels)


def _show(context: Context, name: str, value: float, **labels: str) -> None:
    _emit(context, name, value, MetricTypes.GAUGE, labels)


def _emit(context: Context, name: str, value: float, kind: MetricTypes, labels: Mapping[str, str]) -> None:
    """One line of metrics. Unit and dimensions are those of metrics.yaml, in its order; TorchServe appends ModelName and Level."""
    context.metrics.add_metric(name, value, "", None, [Dimension(label, text) for label, text in labels.items()], kind)
