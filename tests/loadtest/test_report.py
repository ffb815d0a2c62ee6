"""From a recording made by hand to what is said of it."""

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from calvaria.errors import CalvariaError
from loadtest.record import Recording, Sample, Verdict
from loadtest.remarks import remarks
from loadtest.report import report
from loadtest.summary import Summary, summarise
from tests.loadtest.recordings import recorded, request, sample


def summary_of(path) -> tuple[Summary, str]:
    recording = Recording.read(path)
    summary = summarise(recording)
    return summary, " ".join(remarks(recording, summary))


def test_percentiles_rates_and_stages_of_the_measured_window(tmp_path):
    latencies = np.random.default_rng(0).exponential(0.2, 400)
    requests = [request(number, 1.0 + number / 10, latency) for number, latency in enumerate(latencies.tolist())]
    warming = [request(900 + number, number / 10, 9.0) for number in range(10)]
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *warming, *requests))
    group = summary.volumes
    assert group is not None
    for percent in (50, 90, 95, 99):
        expected = np.quantile(latencies, percent / 100, method="inverted_cdf")
        assert group.latency_s[f"p{percent}"] == pytest.approx(expected)
        assert group.beside_network_s[f"p{percent}"] == pytest.approx(expected - 0.02)
    assert group.mean_s == pytest.approx(latencies.mean())
    assert group.max_s == pytest.approx(latencies.max())
    assert (group.requests, group.as_expected, summary.warming) == (400, 400, 10)
    assert summary.window_s == (1.0, max(each.done_s for each in requests))
    assert group.per_s == pytest.approx(400 / (summary.window_s[1] - 1.0))
    assert group.stages_s == pytest.approx({"decode": 0.01, "network": 0.02})
    assert summary.lateness_s["p99"] == pytest.approx(0.001)
    assert "Left out: 10 requests due in the first 1 s" in said
    assert "Too few" not in said
    assert "did not keep up" not in said


def test_groups_by_size_bad_bodies_and_transport(tmp_path):
    requests = [request(number, 2.0 + number / 10, transport="grpc" if number % 2 else "http") for number in range(6)]
    requests += [request(10 + number, 3.0 + number / 10, 0.4, ingredient="128") for number in range(2)]
    requests += [request(20, 4.0, 0.01, ingredient="bad:empty"), request(21, 4.1, 0.01, ingredient="bad:empty", code="internal")]
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *requests))
    counts = {group.name: (group.requests, group.as_expected) for group in summary.groups}
    assert counts == {"all volumes": (8, 8), "64": (6, 6), "128": (2, 2), "bad:empty": (2, 1), "over grpc": (3, 3), "over http": (5, 5)}
    assert {group.name: group.codes for group in summary.ingredients}["bad:empty"] == {"empty-body": 1, "internal": 1}
    assert summary.codes == {"200 ok": 8, "400 empty-body": 1, "400 internal": 1}
    assert "1 of 10 requests were not answered as they should be" in said


@pytest.mark.parametrize(("count", "given"), [(4, []), (5, ["p50"]), (29, ["p50", "p90"]), (298, ["p50", "p90", "p95"]), (299, None)])
def test_what_too_few_requests_cannot_say_is_not_said(tmp_path, count, given):
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *(request(number, 1.0 + number / 10) for number in range(count))))
    assert summary.volumes is not None
    stated = [name for name, value in summary.volumes.latency_s.items() if value is not None]
    assert stated == (given if given is not None else ["p50", "p90", "p95", "p99"])
    assert ("Too few answers for every percentile (p50 5, p90 29, p95 59, p99 299)" in said) == (count < 299)
    if count < 299:
        assert f"all volumes {count}, 64 {count}" in said


def test_failures_are_not_in_the_percentiles_but_said(tmp_path):
    good = [request(number, 1.0 + number / 10) for number in range(30)]
    refused = [request(50 + n, 2.0 + n / 100, 0.001, code="unavailable", status="503") for n in range(20)]
    given_up = [request(90, 3.0, 60.0, code="timeout", status="Timeout")]
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *good, *refused, *given_up))
    assert summary.volumes is not None
    assert summary.volumes.latency_s["p50"] == pytest.approx(0.1)
    assert summary.volumes.codes == {"ok": 30, "unavailable": 20, "timeout": 1}
    assert "21 of 51 requests were not answered" in said
    assert "1 requests were given up after 60 s" in said
    assert "did not keep up with 10 requests a second" in said


def test_an_open_loop_that_queues_up_is_said(tmp_path):
    queueing = [request(number, 1.0 + number / 10, 0.1 + number / 5) for number in range(60)]
    assert "did not keep up" in summary_of(recorded(tmp_path / "run.jsonl", *queueing))[1]
    assert "did not keep up" not in summary_of(recorded(tmp_path / "run.jsonl", *queueing, rate_hz=None, clients=4))[1]
    full = [request(number, number / 10, 20.0) for number in range(300)]
    assert "did not keep up" in summary_of(recorded(tmp_path / "run.jsonl", *full))[1], "though the latency no longer grows"
    slow = [request(number, number / 10, 2.0) for number in range(300)]
    assert "did not keep up" not in summary_of(recorded(tmp_path / "run.jsonl", *slow))[1], "it is slow, and answers as many as come"


def test_a_late_generator_is_said(tmp_path):
    late = [request(number, 1.0 + number / 10, 0.2, sent_s=1.0 + number / 10 + 0.05) for number in range(40)]
    assert "late by up to 50 ms" in summary_of(recorded(tmp_path / "run.jsonl", *late))[1]
    slow = [request(number, 1.0 + number / 10, 5.0, sent_s=1.0 + number / 10 + 0.05) for number in range(40)]
    assert "late by" not in summary_of(recorded(tmp_path / "run.jsonl", *slow))[1], "50 ms are nothing beside 5 s"


def test_batches_and_memory_over_time(tmp_path):
    samples = [sample(0.0, 10, 10, 200), sample(1.0, 14, 12, 250), sample(2.0, 14, 12, 300), sample(3.0, 26, 15, 280)]
    summary, _ = summary_of(recorded(tmp_path / "run.jsonl", request(0, 2.0), *samples))
    assert summary.occupancy == pytest.approx(12 / 3), "since the warm-up's end"
    unanswered = Sample(1.0, {}, {}), *samples[1:], Sample(4.0, {}, {})
    assert summary_of(recorded(tmp_path / "gaps.jsonl", request(0, 2.0), *unanswered))[0].occupancy == pytest.approx(12 / 3)
    assert summary.batches == [(1.0, 2.0), (3.0, 4.0)]
    assert summary.worker_bytes == {"77": [(0.0, 200.0), (1.0, 250.0), (2.0, 300.0), (3.0, 280.0)]}


def test_what_is_not_known_is_said(tmp_path):
    _, said = summary_of(recorded(tmp_path / "run.jsonl", request(0, 2.0), ended=False))
    assert "cut short" in said
    assert "occupancy is not known" in said
    assert "memory is not known" in said


def test_wrong_answers_are_counted_and_said(tmp_path):
    requests = [request(number, 2.0 + number, answer="abc" if number else "xyz") for number in range(4)]
    right, wrong = Verdict("64", 0, "abc", ""), Verdict("64", 0, "xyz", "3 voxels differ")
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *requests, right, wrong))
    assert (summary.compared, summary.wrong) == (4, 1)
    assert "1 of 4 answers differ" in said
    summary, said = summary_of(recorded(tmp_path / "run.jsonl", *requests[1:], right))
    assert (summary.compared, summary.wrong) == (3, 0)
    assert "All 3 answers that are volumes equal the local prediction" in said
    assert summary_of(recorded(tmp_path / "run.jsonl", *requests))[0].compared is None


def test_nothing_to_report_on_is_refused(tmp_path):
    with pytest.raises(CalvariaError, match="None of 1 requests was due after the warm-up of 1 s"):
        summarise(Recording.read(recorded(tmp_path / "run.jsonl", request(0, 0.5))))


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        fetched = [name for name, value in attrs if name in ("src", "href", "xlink:href") and not value.startswith("#")]
        self.outside += [f"{tag} {name}" for name in (*fetched, *(name for name, _ in attrs if name.startswith("on")))]
        if tag not in ("meta", "path", "circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_table_json_and_page(tmp_path):
    requests = [request(number, number / 10, 0.05 + number / 1000, transport=("http", "grpc")[number % 2]) for number in range(80)]
    requests += [request(100 + n, 2.0 + n, ingredient="128", code="<b>&", status="200") for n in range(3)]
    path = recorded(tmp_path / "run.jsonl", *requests, sample(0.0, 0, 0), sample(5.0, 90, 30), model="<script>alert(1)</script>")
    console = Console(file=io.StringIO(), width=100)
    report(path, console)
    shown = console.file.getvalue()
    assert re.search(r"64 +│ +70 │ +70 ", shown)
    everything = json.loads((tmp_path / "run.json").read_text())
    assert everything["volumes"]["latency_s"]["p50"] == pytest.approx(0.05 + 0.044)
    assert everything["occupancy"] == 3.0 or everything["occupancy"] is None
    assert everything["run"]["plan"]["rate_hz"] == 10.0
    assert everything["remarks"]
    text = (tmp_path / "run.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 5
    assert "&lt;script&gt;alert(1)" in text
    assert "p50" in text


def test_a_closed_loop_and_another_warm_up(tmp_path):
    requests = [request(number, number / 10) for number in range(50)]
    path = recorded(tmp_path / "run.jsonl", *requests, rate_hz=None, clients=4)
    summary = report(path, Console(file=io.StringIO()), warmup_s=3.0)
    assert "Closed loop, 4 clients" in (tmp_path / "run.html").read_text()
    assert (summary.requests, summary.warming) == (20, 30)


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_no_report_takes_its_recordings_place(tmp_path, suffix):
    path = recorded(tmp_path / f"run{suffix}", request(0, 2.0))
    before = path.read_bytes()
    with pytest.raises(CalvariaError, match=r"its report would overwrite it. End the name in \.jsonl"):
        report(path, Console(file=io.StringIO()))
    assert path.read_bytes() == before


def test_a_report_that_cannot_be_written_is_refused(tmp_path):
    path = recorded(tmp_path / "run.jsonl", request(0, 2.0))
    (tmp_path / "run.html").mkdir()
    with pytest.raises(CalvariaError, match=r"run\.html cannot be written: "):
        report(path, Console(file=io.StringIO()))
