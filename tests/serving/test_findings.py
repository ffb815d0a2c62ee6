"""Warnings: where they are due, and where not."""

from pathlib import Path

import numpy as np
import pytest

from calvaria.io import decode, encode, read
from calvaria.labels import LabelMap
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.predictor import Predictor
from calvaria.serving.findings import about_answer, about_input, about_questions, implant_facts, merged, reaches_border
from calvaria.tasks import TASKS, Extras, Settings, Task
from calvaria.tasks.completion import COMPLETION, prepare
from calvaria.tasks.refinement import INPUTS, REFINEMENT
from calvaria.tasks.super_resolution import SUPER_RESOLUTION
from calvaria.volume import BinaryVolume

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SETTINGS = Settings(spacing_mm=3.0)


def head(scale: float = 1.0, thickness_mm: float = 8.0) -> BinaryVolume:
    """A hollow ellipsoid as large as a head, 3 mm voxels."""
    half = np.array([70.0, 95.0, 80.0]) * scale
    axes = np.ogrid[tuple(slice(-each - 12, each + 12, 3.0) for each in half)]
    outer = sum((axis / each) ** 2 for axis, each in zip(axes, half, strict=True)) <= 1
    inner = sum((axis / (each - thickness_mm)) ** 2 for axis, each in zip(axes, half, strict=True)) <= 1
    return BinaryVolume.on_grid(np.asfortranarray(outer & ~inner), (3, 3, 3))


def codes(volume: BinaryVolume) -> list[str]:
    return [notice.code for notice in about_input(COMPLETION, prepare(volume, SETTINGS))]


@pytest.mark.parametrize(
    ("wanted", "coarser"),
    [(Extras(spacing_mm=1.0), False), (Extras(spacing_mm=1.2), True), (Extras(spacing_mm=2.0), True), (Extras(factor=2), False)],
)
def test_an_answer_that_shows_less_along_an_axis_is_told(wanted: Extras, coarser: bool) -> None:
    slices = BinaryVolume.on_grid(np.asfortranarray(head().mask.repeat(3, axis=0).repeat(3, axis=1)), (0.98, 0.98, 3))
    prepared = SUPER_RESOLUTION.prepare(slices, Settings(spacing_mm=0.4, occupied_share=0.01), wanted)
    (*notices,) = (notice for notice in about_input(SUPER_RESOLUTION, prepared) if notice.code == "coarser-than-sent")
    assert [("Ask for 0.98 mm or less" in notice.message) for notice in notices] == [True] * coarser


@pytest.mark.parametrize(
    ("volume", "unlike"),
    [
        (head(), False),
        (head(1.2, 6.0), False),
        (head(0.5), True),
        (head(1.6), True),
        (head(thickness_mm=40.0), True),
        (BinaryVolume.on_grid(np.asfortranarray(head().mask[:, :, 40:]), (3, 3, 3)), True),
        (BinaryVolume.on_grid(head().mask, (1, 1, 1)), True),
    ],
    ids=["head", "large head", "half as large", "larger than any", "solid", "cut off", "in the wrong unit"],
)
def test_what_is_no_head_is_said_to_be_unlike_them(volume, unlike):
    assert codes(volume) == ["unlike-training-data"] * unlike


@pytest.mark.shared
@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there")
@pytest.mark.parametrize(("name", "unlike"), [("seg3d_skull.nrrd", False), ("seg3d_brain.nrrd", True)])
def test_a_real_skull_and_a_real_brain(name, unlike):
    assert codes(read(DATA / name).volume) == ["unlike-training-data"] * unlike


def voxels(*at: tuple[int, int, int], shape: tuple[int, int, int] = (6, 7, 8)) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    for each in at:
        mask[each] = True
    return mask


@pytest.mark.parametrize("at", [(0, 3, 3), (5, 3, 3), (3, 0, 3), (3, 6, 3), (3, 3, 0), (3, 3, 7)])
def test_an_answer_that_adds_at_a_border_reaches_it(at):
    inside = voxels((3, 3, 3))
    assert reaches_border(inside, inside | voxels(at))
    assert not reaches_border(inside | voxels(at), inside | voxels(at)), "what was there already was not added"
    assert not reaches_border(inside | voxels(at), inside)
    assert reaches_border(inside, voxels(tuple(2 * i + (i > 3) for i in at), shape=(12, 14, 16))), "on a finer grid too"


def test_an_empty_implant_is_called_so_with_the_bars_that_made_it_empty():
    empty = BinaryVolume.on_grid(voxels(), (1, 1, 1))
    (notice,) = about_answer(
        COMPLETION, empty, {"implant": empty}, ["implant"], Settings(spacing_mm=3.0, smallest_mm3=1000.0, threshold=0.9)
    )
    assert "No hole of at least 1000 mm3" in notice.message
    assert "above 0.9" in notice.message


def test_only_outputs_asked_for_can_reach_a_border_but_an_empty_implant_is_always_said():
    given = BinaryVolume.on_grid(voxels((3, 3, 3)), (1, 1, 1))
    edge, empty = given.like(voxels((0, 3, 3))), given.like(voxels())
    assert [each.code for each in about_answer(COMPLETION, given, {"completed": edge, "implant": empty}, ["implant"], SETTINGS)] == [
        "no-defect"
    ]
    assert [each.code for each in about_answer(COMPLETION, given, {"completed": edge, "implant": edge}, ["completed"], SETTINGS)] == [
        "touches-border"
    ]
    assert list(about_answer(SUPER_RESOLUTION, given, {"fine": given}, ["fine"], SETTINGS)) == []


def test_components_are_counted_and_the_largest_listed():
    mask = np.zeros((60, 9, 9), np.bool_)
    mask[::3, ::3, ::3] = True
    mask[0:2, 0, 0] = True
    facts = implant_facts(BinaryVolume.on_grid(mask, (0.5, 1, 2)))
    assert (facts.components, len(facts.components_mm3)) == (180, 100)
    assert facts.components_mm3[:2] == [2.0, 1.0]
    assert facts.volume_mm3 == 181
    assert implant_facts(BinaryVolume.on_grid(np.zeros((3, 3, 3), np.bool_), (1, 1, 1))).components == 0


def test_a_mask_that_comes_back_as_it_was_is_told() -> None:
    given = head()
    other = given.mask.copy()
    other[30, 30, 30] ^= True
    for mask, told in ((given.mask, ["unchanged"]), (other, [])):
        assert [each.code for each in about_answer(REFINEMENT, given, {"refined": given.like(mask)}, ["refined"], SETTINGS)] == told


def test_labels_are_named_in_what_is_said_of_them() -> None:
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[4:10, 4:10, 4:10], labels[20:26, 4:10, 4:10] = 3, 8
    network = EncoderDecoder(NetworkConfig((4,) * 7, grows=False, inputs=INPUTS))
    refining = Predictor(network, TASKS["refinement"], Settings(spacing_mm=1.75))
    asked = refining.ask(LabelMap.of(labels, BinaryVolume.on_grid(labels > 0, (2, 2, 2))))
    assert [notice.message.split(":")[0] for notice in about_questions(refining.task, asked)] == ["Label 3", "Label 8"]


def test_labels_taken_for_one_mask_are_told() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1, 1], labels[2, 2, 2] = 2, 7
    for label, expected in ((None, ["labels-merged"]), (7, [])):
        decoded = decode(encode(LabelMap.of(labels, BinaryVolume.on_grid(labels > 0, (1, 1, 1))), "nrrd"), label=label)
        notices = list(merged(decoded.merged))
        assert [notice.code for notice in notices] == expected
        assert [notice.message for notice in notices] == [each for each in decoded.remarks if "2, 7" in each]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_lists_the_pieces_of_an_output_that_it_has(task: Task) -> None:
    assert task.pieces is None or task.pieces in task.outputs
