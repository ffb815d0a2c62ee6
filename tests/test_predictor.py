"""Volumes in, volumes out: grids, orientations and batches."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.metrics import dice
from calvaria.geometry import bounding_box
from calvaria.inference import MINKOWSKI
from calvaria.io import read
from calvaria.labels import LabelMap
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.predictor import Predictor, Trained
from calvaria.sampling import sampled
from calvaria.sparse import SiteSet
from calvaria.synthetic import cut_defect, make_skull
from calvaria.tasks import TASKS, Extras, Inferred, Prepared, Settings
from calvaria.volume import BinaryVolume
from calvaria.weights import CLOSE_UP, WEIGHTS, model_folder, save_weights

REAL = Path(__file__).parents[2] / "shared" / "data" / "seg3d_skull.nrrd"


def ellipsoid_shell(shape: tuple[int, int, int], seed: int) -> BinaryVolume:
    """A lopsided shell with a notch, so that no two orientations look alike."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1.2, 1.2, n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x * rng.uniform(0.9, 1.2)) ** 2 + (y * rng.uniform(0.9, 1.2)) ** 2 + (z + 0.2 * x) ** 2)
    mask = abs(radius - 0.9) < 0.09
    mask[: shape[0] // 3, : shape[1] // 3, :] = False
    return BinaryVolume.on_grid(np.asarray(mask), (2.0, 1.5, 2.5), (11.0, -30.0, 7.5))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Untrained, but with running statistics of real activations, so that it keeps some sites and prunes others."""
    torch.manual_seed(3)
    network = EncoderDecoder(NetworkConfig((4, 4, 4, 4, 4, 4, 4)))
    for decode in network.decoder:
        torch.nn.init.constant_(decode.head.bias, 0.5)
    untrained = Predictor(network, TASKS["completion"], Settings(4.0, smallest_mm3=100.0))
    network.train()
    for seed in range(20):
        network(SiteSet.from_masks([torch.from_numpy(untrained.prepare(ellipsoid_shell((50, 60, 40), seed)).sites)]))
    return Predictor(network, untrained.task, untrained.settings)


def turned(volume: BinaryVolume, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> BinaryVolume:
    """The same anatomy in another file order: index axes permuted and reversed, affine to match."""
    mask = volume.mask.transpose(axes)
    affine = volume.affine[:, [*axes, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            mask = np.flip(mask, axis)
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
    return BinaryVolume(mask, affine)


def occupied_places(volume: BinaryVolume) -> set[tuple[float, ...]]:
    index = np.argwhere(volume.mask)
    return set(map(tuple, (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]).round(4).tolist()))


def test_any_axis_order_or_flip_gives_the_same_implant_in_patient_space(predictor: Predictor) -> None:
    volume = ellipsoid_shell((50, 60, 40), 99)
    expected = predictor.predict([volume])[0]["implant"]
    assert expected.occupied > 0
    for axes, flips in zip(list(permutations(range(3))) * 2, product([False, True], repeat=3), strict=False):
        answer = predictor.predict([turned(volume, axes, flips)])[0]["implant"]  # type: ignore[arg-type]
        assert occupied_places(answer) == occupied_places(expected)


def test_answers_lie_on_the_inputs_grid_and_add_up(predictor: Predictor) -> None:
    volume = turned(ellipsoid_shell((50, 60, 40), 5), (2, 0, 1), (True, False, True))
    outputs = predictor.predict([volume])[0]
    assert set(outputs) == set(predictor.task.outputs)
    assert all(np.array_equal(answer.affine, volume.affine) and answer.shape == volume.shape for answer in outputs.values())
    assert np.array_equal(outputs["completed"].mask, outputs["implant"].mask | volume.mask)


def test_a_batch_of_unequal_volumes_is_answered_one_by_one_alike(predictor: Predictor) -> None:
    volumes = [ellipsoid_shell(shape, seed) for seed, shape in enumerate([(50, 60, 40), (30, 30, 30), (64, 20, 41), (50, 60, 40)])]
    for alone, together in zip([predictor.predict([v])[0] for v in volumes], predictor.predict(volumes), strict=True):
        assert all(np.array_equal(alone[name].mask, together[name].mask) for name in predictor.task.outputs)


def test_asked_both_ways_a_mirrored_volume_gets_the_mirrored_answer(predictor: Predictor) -> None:
    both_ways = Predictor(predictor.network, predictor.task, replace(predictor.settings, mirrored=True, threshold=0.3))
    volume = ellipsoid_shell((50, 60, 40), 11)
    seen, mirrored = both_ways.predict([volume, volume.like(np.ascontiguousarray(volume.mask[::-1]))])
    assert seen["implant"].occupied > 0
    assert np.array_equal(seen["implant"].mask, mirrored["implant"].mask[::-1])
    once = predictor.predict([volume])[0]
    assert not np.array_equal(once["implant"].mask, seen["implant"].mask)


def test_asked_both_ways_cells_that_lie_otherwise_count_as_much(predictor: Predictor) -> None:
    both_ways = Predictor(predictor.network, predictor.task, replace(predictor.settings, mirrored=True))
    prepared = both_ways.prepare(ellipsoid_shell((50, 60, 40), 11))
    assert not np.allclose(prepared.elsewhere[0].grid.affine[:3, 3] % 4.0, prepared.grid.affine[:3, 3] % 4.0)
    here, *others = (both_ways.first([cells])[0] for cells in prepared.placements)
    there = [sampled(field, cells.grid, prepared.grid) for field, cells in zip(others, prepared.elsewhere, strict=True)]
    (seen,), (guess,) = both_ways.infer([prepared]), both_ways.guess([prepared])
    assert np.allclose(guess, [here, *there], atol=1e-5)
    assert np.allclose(seen.field, np.mean([here, *there], axis=0), atol=1e-5)
    assert len(there) == 2
    assert prepared.waiting_bytes > 2 * prepared.kept_bytes


def test_a_volume_one_cell_thin_is_answered(predictor: Predictor) -> None:
    both_ways = Predictor(predictor.network, predictor.task, replace(predictor.settings, spacing_mm=0.0, mirrored=True))
    mask = np.random.default_rng(1).random((1, 40, 40)) < 0.6
    assert both_ways.prepare(thin := BinaryVolume.on_grid(mask, (2, 2, 2))).grid.shape[0] == 1
    assert both_ways.predict([thin])[0]["implant"].same_grid(thin)


def test_a_second_look_that_is_refused_concerns_its_own_volume_alone() -> None:
    def look(prepared: Prepared, *others: object) -> None:
        if prepared.volume is bad:
            raise CalvariaError(ErrorCode.TOO_LARGE, "too much to look at")

    network = EncoderDecoder(NetworkConfig((4, 4, 4, 4, 4, 4, 4)))
    second = Trained(EncoderDecoder(NetworkConfig((4,) * 7, grows=False, inputs=4)), Settings(2.0))
    looking = Predictor(network, replace(TASKS["completion"], look=look), Settings(4.0), second=second)
    good, bad = ellipsoid_shell((50, 60, 40), 1), ellipsoid_shell((50, 60, 40), 2)
    prepared = [looking.prepare(each) for each in (good, bad)]
    answered, refused = looking.infer(prepared)
    assert looking.finish(prepared[0], answered)["implant"].same_grid(good)
    with pytest.raises(CalvariaError, match="too much"):
        looking.finish(prepared[1], refused)


@pytest.mark.parametrize(("first", "second"), [("completion", "refinement"), ("refinement", "refinement")])
def test_a_second_network_of_another_task_or_of_one_without_a_second_look_is_refused(first: str, second: str, tmp_path: Path) -> None:
    network = EncoderDecoder(NetworkConfig((4,) * 7))
    for name, task in ((WEIGHTS, first), (CLOSE_UP, second)):
        save_weights(tmp_path / name, network, TASKS[task], Settings(2.0))
    with pytest.raises(CalvariaError, match=f"holds no second network for {first}"):
        Predictor.load(tmp_path)


def test_a_map_without_labels_is_empty() -> None:
    refining = Predictor(EncoderDecoder(NetworkConfig((4,) * 7)), TASKS["refinement"], Settings(2.0))
    labels = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(CalvariaError) as refused:
        refining.predict([LabelMap.of(labels, BinaryVolume.on_grid(labels > 0, (1, 1, 1)))])
    assert refused.value.code is ErrorCode.EMPTY_MASK


def test_one_scan_belongs_to_one_volume(predictor: Predictor) -> None:
    volume = ellipsoid_shell((20, 20, 20), 0)
    with pytest.raises(ValueError, match="one scan comes with 2 volumes"):
        predictor.predict([volume, volume], Extras(image=np.zeros(volume.shape)))


def test_nothing_asked_nothing_answered(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.fixture
def calls(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many volumes each call of the network had."""
    seen: list[int] = []
    decide = predictor.first.decide
    monkeypatch.setattr(predictor.first, "decide", lambda sites, features: seen.append(sites.batch) or decide(sites, features=features))
    return seen


def rod(axis: int) -> BinaryVolume:
    mask = np.ones(np.where(np.arange(3) == axis, 500, 4), np.bool_)
    mask[0, 0, 0] = False
    return BinaryVolume.on_grid(mask, (4.0, 4.0, 4.0))


def test_four_heads_of_unequal_size_share_one_call(predictor: Predictor, calls: list[int]) -> None:
    heads = [ellipsoid_shell(shape, seed) for seed, shape in enumerate([(120, 150, 110), (110, 170, 90), (130, 140, 100), (100, 180, 110)])]
    assert len(predictor.infer([predictor.prepare(head) for head in heads])) == 4
    assert calls == [4]


def test_on_minkowski_engine_whose_memory_is_not_predicted_each_has_its_own_call(
    predictor: Predictor, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.first, "computed_by", MINKOWSKI)
    predictor.infer([predictor.prepare(ellipsoid_shell((50, 60, 40), seed)) for seed in (30, 31)])
    assert calls == [1, 1]


def test_rods_that_would_share_a_huge_grid_do_not(predictor: Predictor, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [predictor.prepare(rod(axis)) for axis in (0, 0, 1, 2)]
    monkeypatch.setattr(predictor.first, "budget_bytes", 2**25)
    together = predictor.infer(batch)
    assert calls == [2, 2]  # two lie in one line, four fill a cube
    assert all(np.allclose(predictor.infer([item])[0].field, answer.field, atol=1e-4) for item, answer in zip(batch, together, strict=True))


def shipped() -> Predictor:
    folder = model_folder("completion")
    if not (folder / WEIGHTS).exists():
        pytest.skip(f"{folder / WEIGHTS} is absent: train it with `make train`")
    return Predictor.load(folder)


def check_implant(skull: BinaryVolume) -> None:
    """The shipped weights close a defect of seed 7."""
    defect = cut_defect(skull, 7)
    outputs = shipped().predict([defect.defective])[0]
    assert dice(outputs["implant"].mask, defect.implant.mask) > 0.5
    assert not (outputs["implant"].mask & defect.defective.mask).any()


def test_warming_up_takes_both_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball in which neither network found anything to do would leave half of the work for the first request."""
    predictor = shipped()
    finished: list[Inferred] = []
    finish = predictor.finish
    monkeypatch.setattr(predictor, "finish", lambda item, answer, *rest: finished.append(answer) or finish(item, answer, *rest))
    predictor.warm_up()
    (inferred,) = finished
    assert inferred.closer is not None
    assert (inferred.closer > predictor.settings.threshold).any()


def test_the_shipped_weights_complete_a_generated_skull_no_training_saw() -> None:
    check_implant(make_skull(11, 1.5))


def test_however_closely_a_head_is_cropped_it_gets_the_same_implant() -> None:
    head = cut_defect(make_skull(12, 2.0), 5).defective
    shipped, tight = Predictor.load(model_folder("completion")), head.cropped(bounding_box(head.mask))
    whole, cropped = (outputs["implant"] for outputs in shipped.predict([head, tight]))
    assert whole.occupied > 500
    assert len(occupied_places(whole) ^ occupied_places(cropped)) <= whole.occupied // 100


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is absent: the real volumes are not part of the repository")
def test_the_shipped_weights_complete_a_real_skull() -> None:
    check_implant(read(REAL).volume)


def test_threads_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calvaria.predictor.MANY_CELLS", 0)
    shipped = Predictor.load(model_folder("completion"))
    asked = [shipped.prepare(cut_defect(make_skull(seed, 3.0), seed).defective) for seed in (61, 62, 63)]
    by_one = shipped.infer(asked)
    with ThreadPoolExecutor(3) as pool:
        by_three = shipped.infer(asked, pool.map)
    assert sum(each.closer is not None for each in by_one) >= 2
    for one, other in zip(by_one, by_three, strict=True):
        assert (one.closer is None) == (other.closer is None)
        if one.closeup and other.closeup:
            assert np.array_equal(one.closeup.features, other.closeup.features)
            assert np.array_equal(one.closer, other.closer)


def test_what_computes_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_weights(tmp_path / WEIGHTS, EncoderDecoder(NetworkConfig((4,) * 7)), TASKS["completion"], Settings(4.0))
    with caplog.at_level("INFO"):
        loaded = Predictor.load(tmp_path)
    said = [record.getMessage() for record in caplog.records if record.name == "calvaria.predictor"]
    assert said == [f"completion on cpu, engine {loaded.engine}, float32: channels (4, 4, 4, 4, 4, 4, 4), 4 mm cells"]
    assert loaded.engine != "auto"
