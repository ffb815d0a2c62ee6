"""The dense network whose masks are refined: its labels on a grid, what it finds in a chest it has not seen, and how it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.metrics import dice
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.segmenter.network import CELL_MM, SCAN_MM, Segmentation, Segmenter, UNet, cells_over, coarse, to_tensor
from calvaria.segmenter.train import lesson, main, mistaken_share, train
from calvaria.synthetic.seeds import EVALUATION, TRAINING
from calvaria.synthetic.thorax import ORGANS
from calvaria.synthetic.thorax.anatomy import HIGH_MM, LOW_MM
from calvaria.synthetic.thorax.cases import Scene, draw_scene
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.synthetic.thorax.scan import scan
from calvaria.volume import BinaryVolume

UNSEEN = EVALUATION[5]
LABELS = len(ORGANS) + 1


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """Organs of a chest that no training saw."""
    return {organ: draw_scene(UNSEEN, organ, 160) for organ in SEGMENTED}


@pytest.fixture(scope="module")
def whole() -> tuple[Tensor, Tensor]:
    return lesson(TRAINING[-1])


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, whole: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Lessons of the middle of one chest, so that learning takes no time."""
    image, labels = (values[..., 12:36, 8:32, 20:44] for values in whole)
    monkeypatch.setattr("calvaria.segmenter.train.lesson", lambda seed: (image, labels))
    return image, labels


@given(st.integers(0, 2**32 - 1))
def test_a_voxel_has_the_label_of_the_cell_that_it_lies_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, LABELS, (4, 5, 3)).astype(np.uint8)
    cells = [start + CELL_MM * np.arange(count) for start, count in zip(rng.uniform(-50, 50, 3), labels.shape, strict=True)]
    step = rng.uniform(0.5, 6)
    axes = [cell[0] + rng.uniform(-9, 9) + step * np.arange(count) for cell, count in zip(cells, (9, 7, 8), strict=True)]
    found = Segmentation(labels, cells).on(axes)
    assert found.shape == (9, 7, 8)
    for index in np.ndindex(found.shape):
        holding = [np.flatnonzero(abs(cell - axis[i]) < CELL_MM / 2) for cell, axis, i in zip(cells, axes, index, strict=True)]
        assert found[index] == (labels[tuple(each[0] for each in holding)] if all(map(len, holding)) else 0)


def test_cells_are_as_bright_as_the_image_where_they_lie() -> None:
    """A ramp stays one, but at the image's border, which is continued."""
    axes = [np.arange(start, start + 40, step, dtype=np.float32) for start, step in ((-7.0, 2.0), (3.0, 1.0), (11.0, 0.5))]
    cells = cells_over(axes)
    ramp, expected = (sum(slope * axis for slope, axis in zip((1, -2, 3), np.ix_(*each), strict=True)) for each in (axes, cells))
    found = coarse(ramp, axes, cells)
    assert found.shape == (10, 10, 10)
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3)


def test_a_tensor_is_a_window_of_brightness_filled_up_with_lung_to_multiples_of_four() -> None:
    image = np.full((5, 4, 3), 450, np.float32)
    image[0, 0] = -350, 50, 1500
    tensor = to_tensor(image)
    assert tensor.shape == (1, 1, 8, 4, 4)
    assert tensor[0, 0, 0, 0].tolist() == [-1, 0, 1, -1]
    assert (tensor[0, 0, :5, :, :3] == 1).sum() == image.size - 2
    assert (tensor == -1).sum() == tensor.numel() - image.size + 1


@pytest.mark.parametrize(("organ", "least"), [("heart", 0.85), ("aorta", 0.65), ("trachea", 0.6)])
def test_it_finds_the_organs_of_a_chest_it_has_not_seen_with_mistakes(scenes: dict[str, Scene], organ: str, least: float) -> None:
    truth = scenes[organ].truth
    found = segmented(UNSEEN, organ, truth)
    assert found.same_grid(truth)
    assert least < dice(found.mask, truth.mask) < 0.97


def test_a_mask_is_what_the_network_says_of_a_scan_of_the_whole_chest_every_time(scenes: dict[str, Scene]) -> None:
    axes = [np.arange(low, high, SCAN_MM, dtype=np.float32) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    image = scan(make_thorax(UNSEEN), axes, UNSEEN)
    one, again = (Segmenter.load()(image, axes) for _ in range(2))
    assert np.array_equal(one.labels, again.labels)
    for organ, scene in scenes.items():
        voxels = centres_mm(scene.truth)
        mask = segmented(UNSEEN, organ, scene.truth).mask
        assert np.mean((one.on(voxels) == ORGANS.index(organ) + 1) != mask) < 1e-4


def centres_mm(volume: BinaryVolume) -> list[np.ndarray]:
    return [start + mm * np.arange(count) for start, mm, count in zip(volume.origin_mm, volume.spacing_mm, volume.shape, strict=True)]


def test_another_chest_has_another_mask(scenes: dict[str, Scene]) -> None:
    truth = scenes["heart"].truth
    other = segmented(UNSEEN + 1, "heart", truth)
    assert 0.3 < dice(other.mask, segmented(UNSEEN, "heart", truth).mask) < 0.95


def test_labels_are_of_what_they_lie_on(whole: tuple[Tensor, Tensor]) -> None:
    image, labels = whole
    assert image.shape == (1, 1, *labels.shape[1:])
    assert all(count % 4 == 0 for count in labels.shape[1:])
    thorax = make_thorax(TRAINING[-1])
    axes = [np.arange(low, high, 2.0, dtype=np.float32) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    for label, organ in enumerate(ORGANS, start=1):
        mm3 = 8 * np.count_nonzero(thorax.mask(organ, axes))
        assert CELL_MM**3 * int((labels == label).sum()) == pytest.approx(mm3, rel=0.1)
    bright = {organ: float(image[0][labels == label].mean()) for label, organ in enumerate(("nothing", *ORGANS))}
    assert bright["trachea"] < -0.95 < bright["nothing"] < -0.5
    assert min(bright["heart"], bright["aorta"]) > -0.3


def test_the_loss_is_nothing_where_every_label_is_surely_right_and_much_where_organs_are_missed() -> None:
    labels = torch.arange(LABELS).repeat(4 * 4 * 4).reshape(1, 4, 4, 20)
    right = 50 * torch.nn.functional.one_hot(labels, LABELS).movedim(-1, 1).float()
    nothing = torch.zeros_like(right)
    nothing[:, 0] = 50
    assert mistaken_share(right, labels) == pytest.approx(0, abs=1e-5)
    assert mistaken_share(torch.zeros_like(right), labels) == pytest.approx(np.log(LABELS) + 1 - 1 / LABELS, rel=0.02)
    assert mistaken_share(nothing, labels) == pytest.approx(50 * (1 - 1 / LABELS) + 1, rel=0.02)


def test_a_few_steps_lower_the_loss(brief: tuple[Tensor, Tensor]) -> None:
    image, labels = brief
    torch.manual_seed(0)
    untrained, trained = UNet(), train(chests=1, rounds=4)
    assert not trained.training
    with torch.no_grad():
        before, after = untrained(image), trained(image)
    assert after.shape == (1, LABELS, *image.shape[2:])
    assert mistaken_share(after, labels) < 0.98 * mistaken_share(before, labels)


@pytest.mark.usefixtures("brief")
def test_what_was_trained_is_written_and_labels_any_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # of the tests that follow
    file = tmp_path / "new" / "u-net.safetensors"
    main(file, chests=2, rounds=1)
    segmenter, again = Segmenter.load(file), train(chests=2, rounds=1)
    assert all(torch.equal(values, again.state_dict()[name]) for name, values in segmenter.network.state_dict().items())
    axes = [np.arange(start, start + length, 3.0, dtype=np.float32) for start, length in ((5.0, 45), (-20.0, 30), (0.0, 63))]
    image = np.random.default_rng(0).normal(0, 200, [len(axis) for axis in axes]).astype(np.float32)
    found = segmenter(image, axes)
    assert found.labels.shape == tuple(len(cell) for cell in found.cells) == (11, 7, 16)
    assert found.labels.dtype == np.uint8
    assert found.labels.max() < LABELS
    assert found.on(axes).shape == image.shape


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalvariaError, match="python -m calvaria") as refusal:
        Segmenter.load(tmp_path / "none.safetensors")
    assert refusal.value.code is ErrorCode.BAD_OPTION
