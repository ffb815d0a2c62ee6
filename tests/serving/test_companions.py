"""What may come with a mask, or be in it: the scan that it was drawn in, several labels."""

import json

import nibabel
import numpy as np
import pytest
import torch

from calvaria.client.local import LocalClient
from calvaria.io import decode, encode
from calvaria.io.image import LPS_FROM_RAS
from calvaria.labels import LabelMap
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.predictor import Predictor
from calvaria.serving.service import Limits, Request, Response, Service
from calvaria.tasks import TASKS, Settings
from calvaria.tasks.refinement import INPUTS
from calvaria.volume import BinaryVolume
from tests.io.scans import scan_file

SHAPE = (30, 26, 22)
GRID = BinaryVolume.on_grid(np.zeros(SHAPE, np.bool_), (1.5, 1.5, 2.0), (1, 2, 3))


@pytest.fixture(scope="module")
def refining() -> Predictor:
    torch.manual_seed(3)
    network = EncoderDecoder(NetworkConfig((4, 4, 4, 4, 4, 4, 4), grows=False, inputs=INPUTS))
    torch.nn.init.normal_(network.decoder[-1].head.weight, std=2.0)  # so that it says something of its own
    return Predictor(network, TASKS["refinement"], Settings(spacing_mm=1.5, smallest_mm3=0))


def block(start: int, stop: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[start:stop, 6:20, 5:17] = True
    return mask


def scan(values: np.ndarray, origin_mm: tuple[float, float, float] = GRID.origin_mm) -> bytes:
    return scan_file(values, origin_mm, GRID.spacing_mm)


def code_of(response: Response) -> str:
    assert response.code == "ok" or json.loads(response.body)["error"]["code"] == response.code
    return response.code


def test_labels_come_back_refined_one_by_one(refining: Predictor) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[block(4, 12)], labels[block(12, 20)] = 9, 4
    given = LabelMap.of(labels, GRID)
    (response,) = Service(refining).handle([Request(encode(given, "nrrd"))])
    answer = decode(response.body, keep_labels=True).volume
    assert isinstance(answer, LabelMap)
    assert answer.same_grid(given)
    assert answer.present == [4, 9]
    for label in answer.present:
        alone = refining.predict([GRID.like(labels == label)])[0]["refined"].mask
        ours, claimed = answer.labels == label, (answer.labels > 0) | alone
        assert not (ours & ~alone).any(), "no voxel that the label alone would not have"
        assert (ours | (answer.labels > 0))[alone].all(), "what it lost, the other has"
        assert claimed.any()
    np.testing.assert_array_equal(refining.predict([given])[0]["refined"].labels, answer.labels)  # type: ignore[attr-defined]


def test_labels_that_ask_too_much_together_are_refused(refining: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[block(4, 12)], labels[block(12, 20)] = 9, 4
    body = encode(LabelMap.of(labels, GRID), "nrrd")
    (first, second) = (asked.prepared for asked in refining.ask(LabelMap.of(labels, GRID)))
    for limit, both in (
        ("MOST_SITES_OF_LABELS", first.occupied_cells + second.occupied_cells),
        ("MOST_CELLS_OF_LABELS", first.sites.size + second.sites.size),
    ):
        for less, code in ((0, "ok"), (1, "too-large")):
            with monkeypatch.context() as limited:
                limited.setattr(f"calvaria.predictor.{limit}", both - less)
                assert code_of(Service(refining).handle([Request(body)])[0]) == code


def test_a_surface_of_several_labels_says_that_it_is_one_of_all(refining: Predictor) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[block(4, 12)], labels[block(12, 20)] = 9, 4
    body = encode(LabelMap.of(labels, GRID), "nrrd")
    for options, told in (({"format": "stl"}, True), ({"format": "stl", "label": "9"}, False), ({}, False)):
        (response,) = Service(refining).handle([Request(body, options)])
        assert response.code == "ok"
        assert ("labels-merged" in [notice.code for notice in response.warnings]) == told


def test_a_label_may_still_be_chosen(refining: Predictor) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[block(4, 12)], labels[block(12, 20)] = 9, 4
    body = encode(LabelMap.of(labels, GRID), "nrrd")
    (response,) = Service(refining).handle([Request(body, {"label": "9"})])
    alone = refining.predict([GRID.like(labels == 9)])[0]["refined"].mask
    np.testing.assert_array_equal(decode(response.body).volume.mask, alone)


def test_a_label_too_small_to_judge_stays_as_it_is(refining: Predictor) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[block(4, 12)] = 1
    labels[15, 6, 5] = 2  # where the other may want to go
    coarse = Predictor(refining.network, refining.task, Settings(spacing_mm=4.0, smallest_mm3=0))
    answer = coarse.predict([LabelMap.of(labels, GRID)])[0]["refined"]
    assert isinstance(answer, LabelMap)
    np.testing.assert_array_equal(answer.labels == 2, labels == 2)


def test_a_scan_makes_a_difference_and_stays_with_its_own_mask(refining: Predictor) -> None:
    body = encode(GRID.like(block(4, 15)), "nrrd")
    image = scan(np.where(block(4, 12), 200, -100))
    alone = [Service(refining).handle([each])[0].body for each in (Request(body), Request(body, image=image))]
    assert alone[0] != alone[1]
    together = Service(refining).handle([Request(body), Request(body, image=image), Request(body)])
    masks = [decode(each.body).volume.mask for each in together]
    for mask, expected in zip(masks, (alone[0], alone[1], alone[0]), strict=True):
        np.testing.assert_array_equal(mask, decode(expected).volume.mask)


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (scan(np.zeros((30, 26, 21))), "bad-geometry"),
        (scan(np.zeros(SHAPE), (1, 2, 9)), "bad-geometry"),
        (b"", "empty-body"),
        (b"garbage", "not-a-volume"),
        (scan(np.zeros(SHAPE))[:-20], "truncated"),
        (scan(np.zeros(SHAPE)), "not-hounsfield"),
        (scan(np.where(block(4, 12), 1224, 24)), "not-hounsfield"),
    ],
)
def test_a_scan_that_does_not_fit_is_refused(refining: Predictor, image: bytes, code: str) -> None:
    body = encode(GRID.like(block(4, 15)), "nrrd")
    good, bad = Service(refining).handle([Request(body), Request(body, image=image)])
    assert [code_of(good), code_of(bad)] == ["ok", code]


def test_a_scan_in_the_masks_place_is_asked_about(refining: Predictor) -> None:
    image = scan(np.where(block(4, 12), 200, -100) + np.arange(np.prod(SHAPE)).reshape(SHAPE) % 90)
    (swapped,) = Service(refining).handle([Request(image, image=encode(GRID.like(block(4, 15)), "nrrd"))])
    assert b"Or are `volume` and `image` swapped?" in swapped.body


def test_a_scan_whose_axes_run_otherwise_is_the_same_scan(refining: Predictor) -> None:
    body, samples = encode(GRID.like(block(4, 15)), "nrrd"), np.where(block(4, 12), 200, -100).astype(np.int16)
    affine = GRID.affine @ np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = GRID.affine[0, 3] + GRID.spacing_mm[0] * (SHAPE[0] - 1)
    flipped = nibabel.Nifti1Image(samples[::-1], LPS_FROM_RAS @ affine).to_bytes()
    answers = [Service(refining).handle([Request(body, image=image)])[0] for image in (scan(samples), flipped)]
    assert [answer.code for answer in answers] == ["ok", "ok"]
    assert answers[0].body == answers[1].body


def test_a_single_label_stays_itself(refining: Predictor) -> None:
    volume = GRID.like(block(4, 15))
    given = LabelMap.of(np.where(volume.mask, np.uint8(3), np.uint8(0)), volume)
    (response,) = Service(refining).handle([Request(encode(given, "nrrd"))])
    answer, alone = decode(response.body, keep_labels=True).volume, refining.predict([volume])[0]["refined"]
    assert isinstance(answer, LabelMap)
    np.testing.assert_array_equal(answer.labels, 3 * alone.mask)


def test_a_task_that_uses_no_scan_says_so(predictor) -> None:
    (response,) = Service(predictor).handle([Request(encode(GRID.like(block(4, 15)), "nrrd"), image=scan(np.zeros(SHAPE)))])
    assert code_of(response) == "unknown-option"
    assert b"image" in response.body


def test_parts_of_a_form_are_told_apart() -> None:
    request = Request.from_parts({"volume": bytearray(b"v"), "image": bytearray(b"i"), "label": bytearray(b"3")}, {})
    assert (request.body, request.image, request.options) == (b"v", b"i", {"label": "3"})


def test_the_local_client_takes_a_scan(refining: Predictor) -> None:
    volume, image = GRID.like(block(4, 15)), scan(np.where(block(4, 12), 200, -100))
    client = LocalClient(refining)
    assert client.predict("refinement", volume, image=image).same_grid(volume)


def test_a_scan_is_counted_while_it_is_held_and_not_kept_for_a_mask_that_waits(refining: Predictor, monkeypatch) -> None:
    service = Service(refining, Limits(max_working_mib=1e-3), threads=2)
    body, image = encode(GRID.like(block(4, 12)), "nrrd"), scan(np.where(block(4, 12), 40.0, -100.0))
    taken, calls = [], []
    real_ask, real_infer = refining.ask, refining.infer

    def ask(volume, extras):
        taken.append(service._room.taken - extras.image.nbytes)
        return real_ask(volume, extras)

    def infer(batch, each):
        calls.append(len(batch))
        return real_infer(batch, each)

    monkeypatch.setattr(refining, "ask", ask)
    monkeypatch.setattr(refining, "infer", infer)
    responses = service.handle([Request(body, {}, image)] * 4)
    assert [code_of(each) for each in responses] == ["ok"] * 4
    assert min(taken) > 0
    assert len(calls) > 1, "some waited for their turn"
    alone = Service(refining).handle([Request(body, {}, image)])[0]
    assert all(np.array_equal(decode(each.body).volume.mask, decode(alone.body).volume.mask) for each in responses)


def test_an_empty_scan_is_said_to_be_empty(refining: Predictor) -> None:
    (response,) = Service(refining).handle([Request(encode(GRID.like(block(4, 12)), "nrrd"), {}, b"")])
    assert code_of(response) == "empty-body"
    assert "the scan beside the mask" in json.loads(response.body)["error"]["message"]
