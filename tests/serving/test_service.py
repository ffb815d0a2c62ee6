import gzip
import itertools
import json
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import calvaria
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import decode, encode
from calvaria.serving.report import ImplantFacts, Notice, Report
from calvaria.serving.service import STAGES, Limits, Model, Request, Service
from calvaria.serving.wire import decode_refusal, unpack
from tests.serving.random_requests import request, volume


def content(response) -> tuple[str, bytes]:
    """A response's code, and its body with the samples unpacked: isal may pack the same ones in two ways."""
    header, blank, samples = response.body.partition(b"\n\n")
    return response.code, header + (gzip.decompress(samples) if blank else b"")


def code_of(response) -> str:
    assert response.code == "ok" or json.loads(response.body)["error"]["code"] == response.code
    return response.code


def test_a_volume_comes_back_on_its_own_grid(predictor):
    (response,) = Service(predictor).handle([request()])
    given, answer = volume(), decode(response.body).volume
    assert (response.status, response.code) == (200, "ok")
    assert answer.same_grid(given)
    np.testing.assert_array_equal(answer.mask, given.mask | given.mask[::-1])
    assert response.occupied == given.occupied
    assert tuple(response.seconds) == STAGES
    assert all(seconds >= 0 for seconds in response.seconds.values())


@pytest.mark.parametrize("format", ["nrrd", "nii", "nii.gz"])
def test_output_and_format_can_be_chosen(predictor, format):
    (response,) = Service(predictor).handle([request(output="implant", format=format)])
    answer = decode(response.body)
    assert answer.format == format
    np.testing.assert_array_equal(answer.volume.mask, volume().mask[::-1] & ~volume().mask)


@pytest.mark.parametrize("format", ["nrrd", "nii", "nii.gz"])
def test_the_format_is_the_inputs_by_default(predictor, format):
    (response,) = Service(predictor).handle([Request(encode(volume(), format))])
    assert decode(response.body).format == format


def test_good_requests_among_bad_ones_get_what_they_would_get_alone(predictor):
    good = [request((6, 5, 4), 1), request((9, 3, 7), 2), request((4, 4, 4), 3)]
    bad = [Request(b""), Request(b"not a volume"), request(output="nose"), request(seed=4, colour="red")]
    mixed = [bad[0], good[0], bad[1], good[1], bad[2], good[2], bad[3]]
    responses = Service(predictor).handle(mixed)
    alone = [Service(predictor).handle([each])[0] for each in mixed]
    assert [code_of(each) for each in responses] == ["empty-body", "ok", "not-a-volume", "ok", "bad-option", "ok", "unknown-option"]
    assert [content(each) for each in responses] == [content(each) for each in alone]
    assert predictor.batches[0] == 3, "the good ones must share one network call"


def test_a_batch_of_bad_requests_makes_no_network_call(predictor):
    assert [code_of(each) for each in Service(predictor).handle([Request(b""), Request(b"?")])] == ["empty-body", "not-a-volume"]
    assert predictor.batches == []
    assert Service(predictor).handle([]) == []


def fail_for(shape, error):
    def fail(volumes):
        if any(volume.shape == shape for volume in volumes):
            raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("secret of the house"), "internal"),
        (MemoryError(), "out-of-memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"), "out-of-memory"),
    ],
)
def test_a_network_failure_meets_only_the_request_that_causes_it(predictor, error, code):
    predictor.fail = fail_for((9, 3, 7), error)
    responses = Service(predictor).handle([request((6, 5, 4)), request((9, 3, 7)), request((4, 4, 4))])
    assert [code_of(each) for each in responses] == ["ok", code, "ok"]
    assert predictor.batches == [3, 1, 2, 1, 1]  # all, then halves
    assert b"secret" not in responses[1].body


def test_a_lone_failure_is_not_tried_twice(predictor):
    predictor.fail = fail_for((6, 5, 4), RuntimeError())
    assert [code_of(each) for each in Service(predictor).handle([request()])] == ["internal"]
    assert predictor.batches == [1]


def test_what_was_assumed_is_told_without_a_word_of_the_clients(predictor, caplog):
    secret = "NRRD0004\ntype: uint8\ndimension: 3\nspace dimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    secret += 'space units: "Jane" "Doe" "1970"\n\n'
    complete, vague, empty = request(), Request(secret.encode() + bytes([1] * 7 + [0])), Request(secret.encode() + bytes(8))
    responses = Service(predictor).handle([complete, vague, empty])
    assert [code_of(each) for each in responses] == ["ok", "ok", "empty-mask"]
    assert "geometry-assumed" not in {notice.code for notice in responses[0].warnings}
    for response in responses[1:]:
        assumed = " ".join(notice.message for notice in response.warnings if notice.code == "geometry-assumed")
        assert "no origin" in assumed
        assert "units" in assumed
        for notice in response.warnings:
            assert notice.message.isascii()
            assert "Jane" not in notice.message
    assert "Jane" not in caplog.text


@pytest.mark.parametrize("stage", ["ask", "answer"])
def test_an_unexpected_failure_elsewhere_is_confined_too(predictor, stage, monkeypatch):
    calls, real = itertools.count(), getattr(predictor, stage)

    def fail_second(*args):
        if next(calls) == 1:
            raise KeyError("secret of the house")
        return real(*args)

    monkeypatch.setattr(predictor, stage, fail_second)
    responses = Service(predictor).handle([request(seed=1), request(seed=2), request(seed=3)])
    assert sorted(code_of(each) for each in responses) == ["internal", "ok", "ok"]  # which is second, the threads decide
    (failed,) = (each for each in responses if each.code == "internal")
    assert b"secret" not in failed.body
    assert failed.status == 500


def test_limits(predictor):
    service = Service(predictor, Limits(max_voxels=120, max_answer_mib=0.001))
    fits, too_many = request((6, 5, 4)), request((11, 11, 1))
    assert [code_of(each) for each in service.handle([fits, too_many])] == ["ok", "too-large"]
    large_answer = Service(predictor, Limits(max_answer_mib=0.001)).handle([request((20, 20, 20), format="nii")])
    assert [code_of(each) for each in large_answer] == ["too-large"]
    assert "nii.gz" in decode_refusal(large_answer[0].body).message


@pytest.mark.parametrize("read", [{"a": 1}, 5, None, "\ud800", [1]])
def test_what_a_server_read_as_json_is_no_volume_and_harms_nobody(predictor, read):
    parts = {"body": read}, {"volume": request().body, "options": {"output": 2}}
    answers = Service(predictor).handle([*(Request.from_parts(each, {}) for each in parts), request()])
    assert [code_of(each) for each in answers] == ["not-a-volume", "bad-option", "ok"]


def test_requests_from_parts_and_headers():
    raw = Request.from_parts(
        {"body": bytearray(b"v")},
        {"X-Calvaria-Output": "implant", "X-Calvaria-Smallest-Mm3": "5", "Accept": "*/*", "body": {"content-type": "a"}},
    )
    assert (bytes(raw.body), raw.options) == (b"v", {"output": "implant", "smallest_mm3": "5"})
    form = Request.from_parts({"volume": b"v", "label": bytearray(b"2")}, {"x-calvaria-label": "1", "x-calvaria-format": "n\u00c3\u00af"})
    assert (bytes(form.body), form.options) == (b"v", {"label": "2", "format": "nï"})
    assert Request.from_parts({}, {}) == Request(b"")
    assert Request.from_parts({"volume": b"v", "label": b"\xff"}, {}).options == {"label": "\N{REPLACEMENT CHARACTER}"}


def test_every_code_survives_the_wire():
    from calvaria.serving.wire import encode_refusal

    for code in ErrorCode:
        back = decode_refusal(encode_refusal(CalvariaError(code, "why – «and» what\nto do")))
        assert (back.code, back.message) == (code, "why – «and» what\nto do")
    assert decode_refusal(b"NRRD0004") is None
    assert decode_refusal(b"{ no JSON") is None
    assert decode_refusal(b'{"code": 413, "message": "TorchServe\'s own"}') is None


@pytest.mark.parametrize(("format", "kept"), [("nrrd", True), ("nii.gz", True), ("nii", False), ("stl", False)])
def test_several_outputs_are_a_zip_of_what_each_would_be_alone(predictor, format, kept):
    service = Service(predictor, model=Model("1.2", {"weights.safetensors": "ab"}))
    completed, implant, both = service.handle(
        [
            request(output="completed", format=format),
            request(output="implant", format=format),
            request(output="implant,completed", format=format),
        ]
    )
    assert both.content_type == "application/zip"
    files = unpack(both.body)
    assert list(files) == [f"implant.{format}", f"completed.{format}", "report.json"]
    assert files[f"completed.{format}"] == completed.body
    assert files[f"implant.{format}"] == implant.body
    with ZipFile(BytesIO(both.body)) as archive:
        assert archive.testzip() is None
        assert (archive.getinfo(f"implant.{format}").compress_type == ZIP_STORED) == kept


def test_a_report_measures_what_came_in_and_what_goes_out(predictor):
    service = Service(predictor, model=Model("1.2", {"weights.safetensors": "ab"}))
    (response,) = service.handle([request(report="1", output="implant", threshold="0.8")])
    given, files = volume(), unpack(response.body)
    report = Report.from_json(files["report.json"])
    implant = decode(files[report.files["implant"]]).volume
    assert (report.calvaria, report.task, report.model) == (calvaria.__version__, "completion", "1.2")
    assert (report.weights, report.engine, report.device) == ({"weights.safetensors": "ab"}, "fake", "cpu")
    assert report.options == {"output": ["implant"], "report": True, "threshold": 0.8}
    assert (tuple(report.shape), report.occupied_in) == (given.shape, given.occupied)
    assert report.spacing_mm == pytest.approx(given.spacing_mm)
    assert report.occupied_out == {"implant": implant.occupied}
    assert report.volume_mm3 == pytest.approx({"implant": implant.occupied * 0.72})
    assert report.implant.volume_mm3 == pytest.approx(implant.occupied * 0.72)
    labels, count = ndimage.label(implant.mask, np.ones((3, 3, 3)))
    sizes = sorted(np.bincount(labels.ravel())[1:] * 0.72, reverse=True)
    assert report.implant.components == count
    assert report.implant.components_mm3 == pytest.approx(sizes)
    assert tuple(report.seconds) == STAGES
    assert report.warnings == response.warnings
    assert {notice.code for notice in report.warnings} == {"unlike-training-data", "touches-border"}


def test_a_later_versions_report_can_be_read_and_a_stranger_cannot():
    from dataclasses import replace

    report = Report(
        "0", "t", "", {}, "e", "cpu", {}, (1, 2, 3), (1, 1, 1), 3, {}, {}, ImplantFacts(1.0, 0, []), {}, {}, (Notice("a", "b"),)
    )
    assert Report.from_json(report.to_json()) == replace(report, shape=[1, 2, 3], spacing_mm=[1, 1, 1])
    later = {**json.loads(report.to_json()), "mood": "good"}
    assert Report.from_json(json.dumps(later).encode()).task == "t"
    with pytest.raises(ValueError, match="no report"):
        Report.from_json(b'{"task": "t"}')


def test_a_request_changes_the_settings_for_itself_alone(predictor):
    responses = Service(predictor).handle([request(output="implant", threshold="0.95"), request(output="implant")])
    assert [decode(each.body).volume.mask.any() for each in responses] == [False, True]
    assert [each.code for each in responses[0].warnings] == ["unlike-training-data", "no-defect"]
    assert "no-defect" not in [each.code for each in responses[1].warnings]
    assert predictor.settings.threshold == 0.5


def test_an_option_of_another_task_is_refused(predictor):
    (response,) = Service(predictor).handle([request(factor="2")])
    assert code_of(response) == "unknown-option"
    assert "completion takes no option factor" in decode_refusal(response.body).message


def test_the_answers_of_a_batch_stay_where_torchserve_is_quick(predictor):
    """The largest waits for another batch; alone, it is no trouble."""
    tight = Service(predictor, Limits(max_pairs_mib2=0.0001))  # two answers of 8 kB are too much together
    large, small = request((30, 30, 30), format="nii"), request((6, 5, 4))
    responses = tight.handle([large, small, large])
    assert [code_of(each) for each in responses] == ["ok", "ok", "unavailable"]
    assert responses[2].status == 503
    assert "Send the request again" in decode_refusal(responses[2].body).message
    assert code_of(tight.handle([large])[0]) == "ok"


@given(st.lists(st.sampled_from(["good", "empty", "garbage", "option", "failing"]), min_size=1, max_size=6))
@settings(max_examples=25)
def test_any_mixture_gets_what_each_gets_alone(kinds):
    from tests.conftest import FakePredictor

    def of(kind: str, i: int) -> Request:
        shapes = {"good": (6, 5, 4 + i), "failing": (9, 3, 7)}
        return {"empty": Request(b""), "garbage": Request(b"?"), "option": request(nose="1")}.get(kind) or request(shapes[kind], i)

    predictor = FakePredictor()
    predictor.fail = fail_for((9, 3, 7), RuntimeError())
    service, requests = Service(predictor), [of(kind, i) for i, kind in enumerate(kinds)]
    assert [content(each) for each in service.handle(requests)] == [
        content(each) for (each,) in (service.handle([lone]) for lone in requests)
    ]
