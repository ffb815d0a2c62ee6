"""Increments of counters: as prometheus-client's histograms count, each network call once, all of them from zero."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Oracle

from calvaria.errors import ErrorCode
from calvaria.io import encode
from calvaria.serving.measures import BATCH_GPU_PEAK_BYTES, BATCH_SIZE, BEYOND_THE_SERVICE, STAGE_SECONDS, Histogram, at_start, of_batch
from calvaria.serving.messages import Response
from calvaria.serving.service import STAGES, Request, Service
from calvaria.volume import BinaryVolume

HISTOGRAMS = (STAGE_SECONDS, BATCH_SIZE, BATCH_GPU_PEAK_BYTES)
ANYWHERE = st.floats(0, 100) | st.sampled_from([float(bound) for bound in STAGE_SECONDS.bounds])


def request(seed: int, fill: float = 0.3) -> Request:
    mask = np.random.default_rng(seed).random((6, 5, 4)) < fill
    return Request(encode(BinaryVolume.on_grid(mask, (1, 1, 1)), "nrrd"))


def key(increment) -> tuple:
    return increment.name, *increment.labels.items()


def response(code: str = "ok", occupied: int = 0, share_s: float = 0.0, **seconds: float) -> Response:
    return Response(b"", 200, code, "", seconds, occupied, (), network_share_s=share_s)


@pytest.mark.parametrize("histogram", HISTOGRAMS, ids=lambda histogram: histogram.name)
@given(batches=st.lists(st.lists(ANYWHERE, max_size=4), max_size=4))
def test_a_histogram_counts_as_prometheus_does(histogram: Histogram, batches):
    oracle = Oracle(histogram.name, "the same", buckets=histogram.bounds, registry=CollectorRegistry())
    counted: Counter[tuple] = Counter()
    for values in batches:
        for increment in histogram.adding(values):
            bound = increment.labels.get("le")
            counted[increment.name, bound and float(bound)] += increment.value
        for value in values:
            oracle.observe(value)
    (family,) = oracle.collect()
    expected = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples if not sample.name.endswith("_created")}
    assert {name: counted[name] for name in counted if batches} == {
        (name, bound and float(bound)): pytest.approx(value) for (name, bound), value in expected.items() if batches
    }


def test_the_networks_time_is_counted_once_however_many_share_it(predictor):
    requests = [request(seed) for seed in (1, 2, 3)]
    responses = Service(predictor).handle([*requests, Request(b""), request(4, fill=0)])
    added = {key(increment): increment.value for increment in of_batch(responses)}
    assert predictor.batches == [3]
    assert added[("calvaria_network_seconds_total",)] == pytest.approx(responses[0].seconds["network"])
    assert added[("calvaria_stage_seconds_sum", ("Stage", "network"))] == pytest.approx(3 * responses[0].seconds["network"])
    assert added[("calvaria_network_voxels_total",)] == sum(each.occupied for each in responses[:3])
    codes = {key[1][1]: value for key, value in added.items() if key[0] == "calvaria_requests_total"}
    assert codes == {"ok": 3, "empty-body": 1, "empty-mask": 1}
    assert added[("calvaria_batch_size_sum",)] == 5
    assert added[("calvaria_batch_size_bucket", ("le", "6"))] == 1
    assert ("calvaria_batch_size_bucket", ("le", "4")) not in added


def test_a_call_in_halves_is_counted_half_by_half(predictor):
    def fail(volumes):
        if len(volumes) > 1:
            raise RuntimeError

    predictor.fail = fail
    responses = Service(predictor).handle([request(1), request(2)])
    assert [each.network_share_s for each in responses] == [each.seconds["network"] for each in responses]


def test_voxels_that_met_no_network_are_none_of_the_networks():
    added = {key(each): each.value for each in of_batch([response("full-mask", 512, prepare=0.1), response("ok", 100, 0.5, network=1.0)])}
    assert added[("calvaria_occupied_voxels_total",)] == 612
    assert added[("calvaria_network_voxels_total",)] == 100
    assert added[("calvaria_network_seconds_total",)] == 0.5


@pytest.mark.parametrize("gpu", [False, True])
def test_whatever_a_batch_adds_to_began_at_zero(gpu):
    beginning = at_start(STAGES, gpu)
    assert all(increment.value == 0 for increment in beginning)
    codes = ["ok", *(code.value for code in ErrorCode if code not in BEYOND_THE_SERVICE)]
    batch = [response(code, 7, 0.5, **dict.fromkeys(STAGES, 1e-4)) for code in codes]
    added = of_batch(batch, 1000 if gpu else None)
    assert len(added) > 100
    assert all(increment.value > 0 for increment in added)
    everything = {key(increment) for increment in beginning}
    assert len(everything) == len(beginning)
    assert {key(increment) for increment in added} <= everything
    assert any("gpu" in increment.name for increment in beginning) == gpu


def test_a_request_adds_about_a_hundred_lines_at_most():
    """TorchServe reads one for each increment."""
    assert len(of_batch([response("ok", 7, 0.5, **dict.fromkeys(STAGES, 1e-4))])) <= 110


def test_bounds_fit_milliseconds_to_a_minute_and_a_whole_gpu():
    assert (STAGE_SECONDS.bounds[0], STAGE_SECONDS.bounds[-1]) == (0.001, 60)
    assert all(later <= 3 * earlier for earlier, later in zip(STAGE_SECONDS.bounds, STAGE_SECONDS.bounds[1:], strict=False))
    assert BATCH_GPU_PEAK_BYTES.bounds[-1] >= 80 * 2**30
    for histogram in HISTOGRAMS:
        assert list(histogram.bounds) == sorted(set(histogram.bounds))
