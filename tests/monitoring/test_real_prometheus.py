"""A real Prometheus scrapes a real TorchServe under traffic of both transports: every query that is shipped says what the client knows."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import torch
import yaml

from calvaria.server.archive import build_archives
from calvaria.server.server import Server
from calvaria.weights import CLOSE_UP, WEIGHTS
from tests.monitoring.observed import Observed, observe, waited_s
from tests.monitoring.prometheus_server import MISSING, Prometheus, Samples, find
from tests.monitoring.queries import MONITORING, alerts, over, panels, recorded
from tests.monitoring.traffic import BATCH_LIMIT, BATCHED, SINGLE, until

PROGRAM = find("prometheus")
pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(600),  # a busy machine is not a failing test
    pytest.mark.skipif(not PROGRAM, reason=MISSING),
    pytest.mark.skipif(torch.cuda.is_available(), reason="expects what a server without a GPU shows"),
]

ROOT = MONITORING.parent

Meaning = Callable[[Observed], Samples]

PANELS: dict[str, tuple[str, Meaning]] = {
    "Requests by outcome": ("Code", lambda known: known.codes()),
    "Unanswered requests": ("ModelName", lambda known: known.by_model(known.lost)),
    "HTTP answers 4XX": ("", lambda known: {(): known.refused_over_http()}),
    "Stages, median": ("Stage", lambda known: known.by_stage(known.quantile(0.5))),
    "Stages, 95th percentile": ("Stage", lambda known: known.by_stage(known.quantile(0.95))),
    "Stages, mean": ("Stage", lambda known: known.by_stage(lambda seconds: known.ratio(fmean(seconds)))),
    "Requests per batch, mean": ("ModelName", lambda known: known.by_model(known.batch)),
    "Batch occupancy": ("ModelName", lambda known: known.occupancy()),
    "Occupied voxels": ("ModelName", lambda known: known.by_model(known.voxels)),
    "Network seconds per million occupied voxels": ("ModelName", lambda known: known.by_model(known.network)),
    "GPU memory, peak of a batch": ("ModelName", lambda known: {}),
    "GPU memory held by workers": ("WorkerName", lambda known: {}),
}
"""By a panel's title, the label that tells its lines apart, and what the client knows they are."""

ELSEWHERE = {"Queue time, mean", "Requests waiting, mean", "Workers alive", "Workers started anew", "Workers' memory"}
"""Panels that have tests of their own below."""


@pytest.fixture(scope="module")
def store(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random weights as two models."""
    folder = tmp_path_factory.mktemp("two_models")
    shutil.unpack_archive(model_store / "completion.mar", folder / "weights", "zip")
    changes = {
        BATCHED: {"minWorkers": 2, "maxWorkers": 2, "batchSize": BATCH_LIMIT[BATCHED], "maxBatchDelay": 20},
        SINGLE: {"minWorkers": 1, "maxWorkers": 1, "batchSize": BATCH_LIMIT[SINGLE], "jobQueueSize": 8},
    }
    for model, change in changes.items():
        shutil.copytree(ROOT / "models" / "completion", folder / "models" / model, ignore=shutil.ignore_patterns(CLOSE_UP, WEIGHTS))
        shutil.copy(folder / "weights" / WEIGHTS, folder / "models" / model)
        config = folder / "models" / model / "model-config.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | change))
    build_archives(folder / "models", ROOT / "handlers" / "calvaria_handler.py", folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def known(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("monitored")
    with Server.apart(folder / "server", ROOT / "config.properties", model_store=str(store)) as server:
        address = server.settings.url("metrics").removeprefix("http://")
        with Prometheus(PROGRAM, MONITORING, address, folder / "prometheus") as prometheus:
            yield observe(server, prometheus)


def test_the_traffic_had_everything_in_it(known: Observed) -> None:
    for transport in ("http", "grpc"):
        codes = Counter(each.code for each in known.seen if each.transport == transport)
        assert codes.keys() >= {"ok", "empty-body", "unknown-option"}
    for model in (BATCHED, SINGLE):
        assert known.lost_share(known.of(model)) > 0
    assert known.batch(known.of(BATCHED)).expected > 1.2, "hardly any two requests shared a batch"


def test_no_panel_is_left_out() -> None:
    assert panels().keys() == PANELS.keys() | ELSEWHERE


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_what_the_client_counted(known: Observed, title: str) -> None:
    label, meaning = PANELS[title]
    assert known.query(panels()[title], *([label] if label else [])) == meaning(known)


def test_queue_time_is_the_time_that_clients_wait(known: Observed) -> None:
    """In a crowd before a single worker, hardly anything else makes them wait: of both transports, and not of the last request alone."""
    answered = [each for each in known.traffic.crowd if each.code == "ok"]
    assert {each.transport for each in answered} == {"http", "grpc"}
    shown = {}
    for what in ("sum", "count"):
        before, after = (known.prometheus.value(f"sum(QueueTime_{what})", at_s) for at_s in known.crowd_s)
        assert before is not None
        assert after is not None
        shown[what] = after - before
    assert shown["count"] == len(answered)
    waited = waited_s(answered)
    print(f"{len(answered)} requests waited {waited:.2f} s in all as their clients saw it, {shown['sum'] / 1000:.2f} s by QueueTime")
    assert 0.8 * waited <= shown["sum"] / 1000 <= waited
    assert waited > 3 * sum(answered[0].stages.values()), "nobody waited for others, so this test saw nothing"


def test_the_queues_panels_show_it(known: Observed) -> None:
    total = known.waited_s()
    (mean,) = known.query(panels()["Queue time, mean"]).values()
    assert total.least <= mean * len(known.answered) <= total.most
    (waiting,) = known.query(panels()["Requests waiting, mean"]).values()
    assert total.least <= waiting * known.window_s <= total.most * 1.1


def test_the_dead_are_missed_and_replaced(known: Observed) -> None:
    alive = known.query(panels()["Workers alive"], "ModelName")
    started = known.query(panels()["Workers started anew"], "ModelName")
    for model in (BATCHED, SINGLE):
        key = (("ModelName", model),)
        assert alive[key] == known.workers(model)
        assert started[key] / 3600 == known.started_anew(model)


def test_nothing_stale_remains_of_them(known: Observed) -> None:
    """Of every worker that lives now there is its memory now, soon; of those that died nothing."""

    def shown() -> dict[str, list[float]]:
        samples = known.prometheus.query(over(panels()["Workers' memory"], 20), by=("ModelName", "WorkerName"))
        return {model: sorted(value for ((_, name), _), value in samples.items() if name == model) for model in (BATCHED, SINGLE)}

    def resident() -> dict[str, Any]:
        living = [(worker.model, psutil.Process(worker.pid).memory_info().rss) for worker in known.traffic.server.management.workers()]
        return {model: pytest.approx(sorted(rss for name, rss in living if name == model), rel=0.1) for model in (BATCHED, SINGLE)}

    until(lambda: shown() == resident(), f"{shown()} is {resident()}")
    assert known.query("count(calvaria_worker_memory_bytes)") == {(): 3.0}


@pytest.mark.parametrize("counter", ["calvaria_requests_total", "calvaria_stage_seconds_bucket", "calvaria_worker_alive_seconds_total"])
def test_no_counter_falls_when_a_worker_dies(known: Observed, counter: str) -> None:
    assert known.query(f"max(resets({counter}[5m]))") == {(): 0.0}


def test_every_rule_can_be_evaluated(known: Observed) -> None:
    groups = known.prometheus.api("rules")["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health == dict.fromkeys([*recorded(), *alerts()], "ok")
    for name in recorded():
        assert known.prometheus.api("query", {"query": name})["result"], f"{name} records nothing"


@pytest.mark.parametrize("name", alerts())
def test_an_alert_fires_where_the_client_has_reason_to(known: Observed, name: str) -> None:
    """The traffic gives one reason, requests that no worker answered; test_rules.py gives the others."""
    if name != "CalvariaUnanswered":
        assert known.query(alerts()[name]) == {}
        return
    shares = {(("ModelName", model),): known.lost_share(known.of(model)) for model in (BATCHED, SINGLE)}
    expected = {key: known.ratio(share) for key, share in shares.items() if share > 0.05}
    assert known.query(alerts()[name], "ModelName") == expected
