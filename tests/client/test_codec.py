"""Answers of several outputs, and the client that needs no server."""

import numpy as np
import pytest

from calvaria.client import Answer, Report
from calvaria.client.local import LocalClient
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import encode
from calvaria.serving.service import Model
from calvaria.volume import BinaryVolume

VOLUME = BinaryVolume.on_grid(np.random.default_rng(0).random((6, 5, 4)) < 0.3, (1, 2, 3))
IMPLANT = VOLUME.mask[::-1] & ~VOLUME.mask


@pytest.fixture
def local(predictor) -> LocalClient:
    return LocalClient(predictor, Model("7", {"weights.safetensors": "ab"}))


def test_one_output_is_a_volume(local):
    np.testing.assert_array_equal(local.predict("completion", VOLUME, output="implant").mask, IMPLANT)
    assert not local.predict("completion", VOLUME, output="implant", threshold=0.95).mask.any()
    answer = local.request("completion", encode(VOLUME, "nii"), output="implant", report=True)
    np.testing.assert_array_equal(answer.volume.mask, IMPLANT)
    assert set(answer.seconds) == {"decode", "prepare", "network", "finish", "encode"}


def test_several_outputs_are_volumes_and_a_report(local):
    got = local.predict_several("completion", VOLUME, ["implant", "completed"], smallest_mm3=1)
    assert list(got.volumes) == ["implant", "completed"]
    np.testing.assert_array_equal(got.volumes["completed"].mask, VOLUME.mask | IMPLANT)
    np.testing.assert_array_equal(got.volumes["implant"].mask, IMPLANT)
    assert all(volume.same_grid(VOLUME) for volume in got.volumes.values())
    assert isinstance(got.report, Report)
    assert (got.report.model, got.report.options["smallest_mm3"]) == ("7", 1)


def test_asking_an_answer_for_what_it_does_not_hold(local):
    several = local.request("completion", VOLUME, output=["implant", "completed"])
    with pytest.raises(CalvariaError, match="predict_several"):
        _ = several.volume
    single = local.request("completion", VOLUME)
    assert single.files is single.report is None
    with pytest.raises(CalvariaError, match="report=True"):
        _ = single.prediction
    with pytest.raises(CalvariaError, match="ask for it again") as caught:
        _ = Answer(several.body[:-30]).files
    assert caught.value.code is ErrorCode.TRUNCATED


def test_refusals_are_those_of_a_server(local, tmp_path):
    for options, code in [({"output": "nose"}, "bad-option"), ({"factor": 2.0}, "unknown-option"), ({"label": 7}, "label-absent")]:
        with pytest.raises(CalvariaError) as caught:
            local.predict("completion", VOLUME, **options)
        assert caught.value.code.value == code
    with pytest.raises(CalvariaError, match="for completion, not for embalming"):
        local.predict("embalming", VOLUME)
    with pytest.raises(CalvariaError, match=r"none\.nrrd cannot be read"):
        local.predict("completion", tmp_path / "none.nrrd")


def test_an_unforeseen_error_is_told_without_speaking_of_a_server(local, predictor, monkeypatch):
    def broken(*_):
        raise ArithmeticError("secret")

    monkeypatch.setattr(predictor, "answer", broken)
    with pytest.raises(CalvariaError, match=r"met an error that was not foreseen: ArithmeticError at test_codec\.py:") as met:
        local.predict("completion", VOLUME)
    assert met.value.code is ErrorCode.INTERNAL
    assert "server" not in met.value.message
