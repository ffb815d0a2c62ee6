"""What is written is what is read."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from loadtest.record import End, Recording, Verdict, check_recording, reports_of
from tests.loadtest.recordings import PLAN, recorded, request, sample

times = st.floats(0, 1e5)


@given(st.lists(st.tuples(times, times, st.text(), st.sampled_from(["http", "grpc"])), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path, drawn):
    requests = [
        request(number, scheduled, latency, status=status, transport=transport)
        for number, (scheduled, latency, status, transport) in enumerate(drawn)
    ]
    samples, verdicts = [sample(1.5, 8, 2)], [Verdict("64", 1, "abc", "3 voxels differ")]
    recording = Recording.read(recorded(tmp_path / "run.jsonl", *requests, *samples, *verdicts))
    assert (recording.requests, recording.samples, recording.verdicts) == (requests, samples, verdicts)
    assert recording.end == End(100.0, len(requests) + 2)
    assert recording.run.plan == PLAN


def test_every_line_is_a_json_object_that_names_its_kind(tmp_path):
    lines = recorded(tmp_path / "run.jsonl", request(0, 2.0), sample(1.0, 1, 1)).read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [["run"], ["request"], ["sample"], ["end"]]


def test_a_line_that_was_being_written_when_the_run_died_is_left_out(tmp_path):
    path = recorded(tmp_path / "run.jsonl", request(0, 2.0), request(1, 3.0), ended=False)
    path.write_text(path.read_text()[:-40])
    recording = Recording.read(path)
    assert [each.number for each in recording.requests] == [0]
    assert recording.end is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"NRRD0004\n\xff\n",
        b'{"request": {}}\n',
        b'{"run": {"plan": {}, "machine": {}}}\n{"nose": {}}\n',
        b'{"run": {"plan": {}, "machine": {}}}\n[1]\n',
    ],
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(CalvariaError, match=r"run\.jsonl") as caught:
        Recording.read(path)
    assert caught.value.code is ErrorCode.BAD_OPTION


def test_two_runs_in_one_file_are_refused(tmp_path):
    path = recorded(tmp_path / "run.jsonl", request(0, 2.0))
    path.write_text(path.read_text() * 2)
    with pytest.raises(CalvariaError, match="two runs"):
        Recording.read(path)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(CalvariaError, match="cannot be read"):
        Recording.read(tmp_path / "none.jsonl")


def test_what_is_only_checked_is_left_as_it_was(tmp_path):
    for name in ("new", "old"):
        (tmp_path / "old.jsonl").write_text("{}\n")
        check_recording(tmp_path / f"{name}.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl"]
    assert (tmp_path / "old.jsonl").read_text() == "{}\n"


def test_a_link_that_leads_nowhere_yet_stays(tmp_path):
    link = tmp_path / "run.jsonl"
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    check_recording(link)
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["run.json", "run.html"])
def test_a_recording_that_its_report_would_replace_is_called_otherwise(tmp_path, name):
    for check in (check_recording, reports_of):
        with pytest.raises(CalvariaError, match=r"would be written over it: .*run\.jsonl"):
            check(tmp_path / name)
    assert not list(tmp_path.iterdir())
