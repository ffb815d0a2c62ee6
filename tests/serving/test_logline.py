"""The log's line for a request, and what it must not hold."""

import json

import numpy as np

from calvaria.io import encode
from calvaria.serving.logline import request_line, whereabouts
from calvaria.serving.service import STAGES, Request, Service
from calvaria.volume import BinaryVolume

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((6, 5, 4)) < 0.3, (1, 1, 1))


def line_of(service: Service, request: Request) -> tuple[str, dict]:
    (response,) = service.handle([request])
    line = request_line("an-id", "completion", 3, request, response)
    return line, json.loads(line)


def test_it_says_what_came_what_went_and_how_long_it_took(predictor):
    request = Request(encode(VOLUME, "nrrd"), {"output": "implant"})
    line, fields = line_of(Service(predictor), request)
    assert "\n" not in line
    assert (fields["request"], fields["model"], fields["batch"]) == ("an-id", "completion", 3)
    assert (fields["code"], fields["status"]) == ("ok", 200)
    assert (fields["bytes_in"], fields["occupied"]) == (len(request.body), VOLUME.occupied)
    assert fields["bytes_out"] > 0
    assert tuple(fields["seconds"]) == STAGES
    assert "unlike-training-data" in fields["warnings"]
    assert "failure" not in fields


def test_nothing_that_a_client_wrote_is_in_it(predictor, caplog):
    """Not even where a refusal repeats it to the client, or an unforeseen error has it in its message."""

    def fail(volumes):
        raise ValueError("Jane Doe\nforged")

    predictor.fail = fail
    named = encode(VOLUME, "nrrd").replace(b"encoding: gzip", b"encoding: gzip\nJane Doe:=1970\n# Jane Doe", 1)
    caplog.set_level("INFO")
    service = Service(predictor)
    for request in [
        Request(named),
        Request(b"NRRD0004\ntype: Jane Doe\n\n"),
        Request(named, {"Jane Doe": "1"}),
        Request(named, {"output": "Jane Doe"}),
        Request(named, {"options": "Jane Doe"}),
    ]:
        line, fields = line_of(service, request)
        assert "Jane" not in line
        assert fields["code"] != "ok"
    service.handle([Request(named), Request(named)])
    assert "Jane" not in caplog.text
    assert "the network failed for a batch of 2" in caplog.text


def test_a_failure_is_named_with_where_it_happened(predictor):
    def fail(volumes):
        raise KeyError("Jane Doe")

    predictor.fail = fail
    _, fields = line_of(Service(predictor), Request(encode(VOLUME, "nrrd")))
    assert fields["code"] == "internal"
    assert fields["failure"].startswith("KeyError at test_logline.py:")
    assert "service.py" in fields["failure"]


def test_an_error_from_nowhere():
    assert whereabouts(KeyError("x")) == "KeyError at an unknown place"
