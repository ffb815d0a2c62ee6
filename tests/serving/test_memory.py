"""What a service holds, how much at once, and that it lets go of it."""

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref

import psutil
import pytest
import torch

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.serving.heap import give_back, give_back_of_device, resident_bytes
from calvaria.serving.service import DEVICE_KEPT_BYTES, Limits, Request, Service
from tests.serving.random_requests import request, volume


@pytest.mark.parametrize("ends", ["well", "ask", "answer"])
def test_nothing_of_a_request_is_kept(predictor, monkeypatch, ends):
    """Without the collector's help: an error's traceback would hold every array until it came by."""
    kept, real = [], predictor.ask

    def ask(volume, extras):
        kept.append(weakref.ref(volume.mask))
        if ends == "ask":
            raise CalvariaError(ErrorCode.EMPTY_MASK, "as if")
        return real(volume, extras)

    def answer(*_):
        raise MemoryError

    monkeypatch.setattr(predictor, "ask", ask)
    if ends == "answer":
        monkeypatch.setattr(predictor, "answer", answer)
    gc.disable()
    logging.disable()  # pytest keeps what is logged
    try:
        responses = Service(predictor).handle([request(seed=1), request(seed=2)])
        assert [each.status == 200 for each in responses] == [ends == "well"] * 2
        assert len(kept) == 2
        assert all(each() is None for each in kept)
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


def test_threads_hold_no_more_than_there_is_room_for(predictor, monkeypatch):
    held, most, lock = 0, [], threading.Lock()
    real = predictor.answer

    def answer(volume, *rest):
        nonlocal held
        with lock:
            held += volume.mask.size
            most.append(held)
        time.sleep(0.02)
        with lock:
            held -= volume.mask.size
        return real(volume, *rest)

    monkeypatch.setattr(predictor, "answer", answer)
    monkeypatch.setattr("calvaria.serving.service.SMALL_VOXELS", 0)
    requests = [request((10, 10, 10), seed) for seed in range(6)]
    Service(predictor, Limits(max_working_mib=8 * 2500 / 2**20), threads=6).handle(requests)
    assert max(most) == 2000, "two of 1000 voxels fit, and are worked on at once"
    Service(predictor, Limits(max_working_mib=0), threads=6).handle(requests)
    assert max(most[6:]) == 1000, "what fits nowhere is worked on alone"


def test_a_batch_waits_for_the_network_together_unless_that_takes_too_much_memory(predictor, monkeypatch):
    asked, real = [], predictor.infer

    def infer(batch, each):
        asked.append(len(batch))
        return real(batch, each)

    monkeypatch.setattr(predictor, "infer", infer)
    requests = [*(request((10, 10, 10), seed) for seed in range(3)), Request(b"refused"), *(request((10, 10, 10), 9) for _ in range(3))]
    for allowed_mib, expected in ((2048.0, [6]), (2.5 * 1000 / 2**20, [3, 3]), (0.0, [1] * 6)):
        asked.clear()
        responses = Service(predictor, Limits(max_working_mib=allowed_mib), threads=2).handle(requests)
        assert [each.status == 200 for each in responses] == [True] * 3 + [False] + [True] * 3
        assert asked == expected


@pytest.mark.parametrize("body", [encode(volume(), "nrrd"), b"refused"])
def test_memory_goes_back_when_the_process_has_grown(predictor, monkeypatch, body):
    given_back, held = [], [100 * 2**20]
    monkeypatch.setattr("calvaria.serving.service.give_back", lambda: given_back.append(True))
    monkeypatch.setattr("calvaria.serving.service.resident_bytes", lambda: held[0])
    service = Service(predictor)
    for mib, times in [(131, 0), (133, 1), (120, 1)]:
        held[0] = mib * 2**20
        service.handle([Request(body)])
        assert len(given_back) == times


def test_what_was_freed_is_no_longer_held():
    """Blocks too small for the system's own pages, which the C library keeps."""
    blocks = [bytearray(60_000) for _ in range(2000)]
    keep = blocks[::100]
    held = resident_bytes()
    assert held == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    del blocks
    give_back()
    assert held - resident_bytes() > 60_000_000
    assert len(keep) == 20


FROM_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from calvaria.serving.heap import give_back, resident_bytes, share_one_heap

share_one_heap()
bytearray(30_000_000)  # freed at once: glibc now keeps up to twice as much at the end of a heap
before = resident_bytes()
with ThreadPoolExecutor(4) as pool:
    def work(number):
        blocks = [bytearray(60_000) for _ in range(500)]  # and then the last of them first, so that what is free lies at the end
        while blocks:
            blocks.pop()
        return [0] * 5000
    kept = list(pool.map(work, range(16)))
    give_back()
    print(resident_bytes() - before)
"""


def test_what_threads_freed_is_no_longer_held_either():
    """In a process of its own: the setting holds for all of it, and from its beginning."""
    grown = subprocess.run([sys.executable, "-c", FROM_THREADS], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 10_000_000


@pytest.mark.parametrize(("kept_mib", "times"), [(2047, 0), (2049, 1)])
def test_what_a_batch_left_of_a_gpu_is_there_for_the_workers_of_other_models(monkeypatch, kept_mib, times):
    emptied = []
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: (kept_mib + 100) * 2**20 if device.index == 1 else 0)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 100 * 2**20)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append(1))
    give_back_of_device(torch.device("cuda:1"), DEVICE_KEPT_BYTES)
    assert len(emptied) == times
