"""Looking at a server."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest

from loadtest.probe import WORKER_PROGRAM, Probe, resident_bytes, sums

EXPOSITION = """\
# HELP calvaria_batch_size_bucket Requests per batch
# TYPE calvaria_batch_size_bucket counter
calvaria_batch_size_bucket{le="1",ModelName="completion",} 3.0
calvaria_batch_size_bucket{le="+Inf",ModelName="completion",} 5.0
# TYPE calvaria_batch_size_count counter
calvaria_batch_size_count{ModelName="completion",} 5.0
# TYPE calvaria_batch_size_sum counter
calvaria_batch_size_sum{ModelName="completion",} 9.0
# TYPE Latency histogram
Latency_bucket{Level="Host",le="5.0",} 1.0
Latency_count{Level="Host",} 1.0
Latency_sum{Level="Host",} 2.5
# TYPE calvaria_requests_total counter
calvaria_requests_total{Code="ok",} 7.0
calvaria_requests_total{Code="empty-body",} 2.0
# TYPE QueueTime gauge
QueueTime{Level="Host",} 4.5
"""
SUMS = {"calvaria_batch_size_count": 5.0, "calvaria_batch_size_sum": 9.0, "calvaria_requests_total": 9.0, "QueueTime": 4.5}
SUMS |= {"Latency_count": 1.0, "Latency_sum": 2.5}


@pytest.fixture
def metrics_url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(EXPOSITION.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_metrics_are_summed_over_their_labels():
    assert sums(EXPOSITION) == SUMS


def test_a_sample_is_of_the_server_now(metrics_url):
    sample = Probe(metrics_url, lambda: []).sample(2.5)
    assert (sample.at_s, sample.metrics, sample.worker_bytes) == (2.5, SUMS, {})


def test_a_server_that_does_not_answer_shows_nothing():
    assert Probe("http://127.0.0.1:9/metrics", lambda: []).sample(0.0).metrics == {}


def test_only_workers_are_weighed_whatever_has_their_number_here(tmp_path):
    program = tmp_path / f"{WORKER_PROGRAM}.py"
    program.write_text("print(flush=True); input()")
    with subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        found = resident_bytes([os.getpid(), worker.pid, 2**22 + 5])
        expected = psutil.Process(worker.pid).memory_info().rss
        worker.communicate(b"\n")
    assert found.keys() == {str(worker.pid)}
    assert found[str(worker.pid)] == pytest.approx(expected, rel=0.2)
