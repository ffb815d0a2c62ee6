from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from calvaria.bench.volumes import load, masks, save
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import write
from calvaria.volume import BinaryVolume


def test_every_description_has_the_sites_it_says() -> None:
    (one,), (full,), (shell,) = masks("one:9", 1), masks("full:5", 1), masks("shell:40", 1)
    assert (one.shape, one.sum()) == ((9, 9, 9), 1)
    assert (full.shape, full.sum()) == ((5, 5, 5), 125)
    assert shell.mean() < 0.15
    assert label(~shell)[1] == 2  # an inside and an outside
    first, second = masks("noise:0.05:40", 2)
    assert first.mean() == pytest.approx(0.05, abs=0.005)
    assert (first != second).any()
    np.testing.assert_array_equal(first, masks("noise:0.05:40", 1)[0])


def test_a_skull_fills_the_same_field_at_every_size() -> None:
    (coarse,), (fine,) = masks("skull:32", 1), masks("skull:64", 1)
    assert 4 * coarse.sum() < fine.sum() < 16 * coarse.sum()
    assert masks("skull:32:3", 1)[0].sum() != coarse.sum()


def test_a_file_is_repeated_over_the_batch(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    write(tmp_path / "some.nrrd", BinaryVolume.on_grid(mask, (1, 1, 1)))
    items = masks(str(tmp_path / "some.nrrd"), 3)
    assert len(items) == 3
    for item in items:
        np.testing.assert_array_equal(item, mask)


@pytest.mark.parametrize(
    "volume",
    ["nowhere.nrrd", "one", "one:x", "noise:2:8", "shell:8:9", "cube:8", "skull:0", "shell:0", "noise:0.1:0", "one:0", "full:-1"],
)
def test_what_describes_nothing_is_refused(volume: str) -> None:
    with pytest.raises(CalvariaError, match=r"skull:SIZE") as refusal:
        masks(volume, 1)
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_more_voxels_than_memory_holds_are_refused() -> None:
    with pytest.raises(CalvariaError, match="9999 voxels along an axis are too many"):
        masks("skull:9999", 1)


def test_masks_of_any_shape_and_memory_order_come_back_from_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items = [rng.random(shape) < 0.3 for shape in ((5, 6, 7), (1, 1, 1), (3, 70, 2))] + [np.asfortranarray(rng.random((4, 9, 5)) < 0.3)]
    save(tmp_path / "masks.npz", items)
    for item, back in zip(items, load(tmp_path / "masks.npz"), strict=True):
        np.testing.assert_array_equal(item, back)
