import itertools
import json

import numpy as np
import pytest
import torch

from calvaria.errors import ErrorCode
from calvaria.io import decode, encode
from calvaria.serving.service import STAGES, Limits, Request, Service
from calvaria.serving.wire import decode_refusal
from calvaria.volume import BinaryVolume


def volume(shape=(6, 5, 4), seed=0) -> BinaryVolume:
    mask = np.random.default_rng(seed).random(shape) < 0.3
    return BinaryVolume.on_grid(mask, (1.0, 0.9, 0.8), (5, 6, 7))


def request(shape=(6, 5, 4), seed=0, **options: str) -> Request:
    return Request(encode(volume(shape, seed), "nrrd"), options)


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
    assert [each.body for each in responses] == [each.body for each in alone]
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


def test_what_was_assumed_is_told_and_logged_without_a_word_of_the_clients(predictor, caplog):
    secret = "NRRD0004\ntype: uint8\ndimension: 3\nspace dimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    secret += 'space units: "Jane" "Doe" "1970"\n\n'
    complete, vague, empty = request(), Request(secret.encode() + bytes([1] * 7 + [0])), Request(secret.encode() + bytes(8))
    responses = Service(predictor).handle([complete, vague, empty])
    assert [code_of(each) for each in responses] == ["ok", "ok", "empty-mask"]
    assert not responses[0].warnings
    for response in responses[1:]:
        assert any("no origin" in warning for warning in response.warnings)
        assert any("units" in warning for warning in response.warnings)
        assert " ".join(response.warnings).isascii()
        assert "Jane" not in " ".join(response.warnings)
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(logged) == sum(len(response.warnings) for response in responses)
    assert "no origin" in " ".join(logged)
    assert "Jane" not in caplog.text


@pytest.mark.parametrize("stage", ["prepare", "finish"])
def test_an_unexpected_failure_elsewhere_is_confined_too(predictor, stage, monkeypatch):
    calls, real = itertools.count(), getattr(predictor, stage)

    def fail_second(*args):
        if next(calls) == 1:
            raise KeyError("secret of the house")
        return real(*args)

    monkeypatch.setattr(predictor, stage, fail_second)
    responses = Service(predictor).handle([request(seed=1), request(seed=2), request(seed=3)])
    assert [code_of(each) for each in responses] == ["ok", "internal", "ok"]
    assert b"secret" not in responses[1].body
    assert responses[1].status == 500


def test_limits(predictor):
    service = Service(predictor, Limits(max_voxels=120, max_answer_mib=0.001))
    fits, too_many = request((6, 5, 4)), request((11, 11, 1))
    assert [code_of(each) for each in service.handle([fits, too_many])] == ["ok", "too-large"]
    large_answer = Service(predictor, Limits(max_answer_mib=0.001)).handle([request((20, 20, 20), format="nii")])
    assert [code_of(each) for each in large_answer] == ["too-large"]
    assert "nii.gz" in decode_refusal(large_answer[0].body).message


def test_requests_from_parts_and_headers():
    raw = Request.from_parts({"body": bytearray(b"v")}, {"X-Calvaria-Output": "implant", "Accept": "*/*", "body": {"content-type": "a"}})
    assert (bytes(raw.body), raw.options) == (b"v", {"output": "implant"})
    form = Request.from_parts({"volume": b"v", "label": bytearray(b"2")}, {"x-calvaria-label": "1", "x-calvaria-format": "n\u00c3\u00af"})
    assert (bytes(form.body), form.options) == (b"v", {"label": "2", "format": "nï"})
    assert Request.from_parts({}, {}) == Request(b"")
    assert Request.from_parts({"volume": b"v", "label": b"\xff"}, {}).options == {"label": "\N{REPLACEMENT CHARACTER}"}


def test_every_code_survives_the_wire():
    from calvaria.errors import CalvariaError
    from calvaria.serving.wire import encode_refusal

    for code in ErrorCode:
        back = decode_refusal(encode_refusal(CalvariaError(code, "why – «and» what\nto do")))
        assert (back.code, back.message) == (code, "why – «and» what\nto do")
    assert decode_refusal(b"NRRD0004") is None
    assert decode_refusal(b"{ no JSON") is None
    assert decode_refusal(b'{"code": 413, "message": "TorchServe\'s own"}') is None
