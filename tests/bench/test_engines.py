"""`calvaria bench engines`: that what stands side by side is the same work, and that what is missing is said."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
import torch
from rich.console import Console

from calvaria.bench import subjects
from calvaria.bench.engines import DEFAULTS, Comparison, Result, compare, engine_names, notes, table
from calvaria.bench.heaviest import Heaviest, heaviest
from calvaria.bench.heaviest import main as measure_heaviest
from calvaria.bench.peers import PEERS
from calvaria.bench.subjects import ENGINES, NotMeasured, Subject, example_network, load
from calvaria.bench.volumes import save
from calvaria.bench.worker import Job, Measured, measure
from calvaria.cli import main
from calvaria.console import Report
from calvaria.errors import CalvariaError
from calvaria.networks import EncoderDecoder
from calvaria.sparse import SiteSet

MEASURED = Measured([0.3, 0.1, 0.2], 0.5, 80, -1.0, 0.5, 300 * 2**20, 200 * 2**20, None, None, 2)
MACHINE = {"processor": "abacus", "cores": 2, "native_simd": None, "torch": "2.13", "torch_simd": "AVX2", "load": 0.1, "ceilings": {}}


def comparison(*rows: Result) -> Comparison:
    return Comparison("one:4", [(4, 4, 4)], 10, "ch1", "cpu", False, 3, MACHINE, list(rows))


def text(found: Comparison) -> str:
    console = Console(width=160)
    with console.capture() as printed:
        console.print(table(found))
    return printed.get()


@pytest.mark.slow
def test_on_a_full_block_sites_and_whole_grids_are_timed_on_the_same_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    words = ["--volume", "full:64", "--engines", "reference,dense", "--repeat", "2", "--batch", "2", "--json", out]
    monkeypatch.setattr("sys.argv", ["calvaria", "bench", "engines", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    found = json.loads(out.read_text())
    assert found["active"] == 2 * 64**3
    assert found["machine"]["command"][1:3] == ["bench", "engines"]
    assert found["machine"]["ceilings"]["copy_gb_s"] > 0.1
    sites, whole, half = (row["measured"] for row in found["rows"])
    assert [row["subject"] for row in found["rows"]] == ["reference", "dense fp32", "dense bf16"]
    for each in (sites, whole):
        assert each["candidates"] == found["active"]
        assert len(each["seconds"]) == 2
        assert each["peak_bytes"] > each["baseline_bytes"]
    assert whole["logits_mean"] == pytest.approx(sites["logits_mean"], rel=1e-4)
    assert whole["logits_std"] == pytest.approx(sites["logits_std"], rel=1e-4)
    assert half or "bf16" in found["rows"][2]["reason"]


def test_one_run_is_measured_however_little_time_there_is(tmp_path: Path, masks: list[torch.Tensor]) -> None:
    save(tmp_path / "masks.npz", [mask.numpy() for mask in masks])
    assert len(measure(Job(str(tmp_path), "reference", "ch1", "cpu", False, 3, 0.0)).seconds) == 1


def test_an_engine_that_cannot_run_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "abacus", ["abacus"])
    found = compare("one:4", "ch1", ["abacus"], "cpu", False, 1, 1, 1.0, Report(Console(quiet=True)))
    assert found.first is None
    assert "not measured" in text(found)
    assert any("abacus: not measured: There is no engine 'abacus'" in line for line in notes(found))


def test_the_table_compares_with_the_first_line_and_marks_the_faster_dense() -> None:
    dense = replace(MEASURED, seconds=[0.8], peak_bytes=500 * 2**20)
    lines = text(
        comparison(Result("native", MEASURED), Result("dense fp32", replace(dense, seconds=[1.0])), Result("dense bf16", dense))
    ).splitlines()
    native, fp32, bf16 = (line.replace("│", " ").split() for line in lines if "native" in line or "dense" in line)
    assert native == ["native", "80", "0.2000", "0.1000", "–", "0.3000", "20000000", "1.00", "300", "100", "1.00"]
    assert bf16 == ["dense", "bf16", "(faster)", "80", "0.8000", "0.8000", "–", "0.8000", "80000000", "4.00", "500", "300", "3.00"]
    assert "(faster)" not in fp32


def test_an_engine_that_did_other_work_is_exposed() -> None:
    def said(row: Result) -> bool:
        return any(
            f"{row.subject}: its candidates or logits are not" in line for line in notes(comparison(Result("native", MEASURED), row))
        )

    assert not said(Result("reference", replace(MEASURED, logits_mean=-1.0001)))
    assert said(Result("reference", replace(MEASURED, logits_mean=-1.1)))
    assert said(Result("reference", replace(MEASURED, candidates=81)))
    assert not said(Result("dense fp32", replace(MEASURED, candidates=512)))


@pytest.mark.parametrize("first", [Result("native", None, "it was not compiled."), Result("dense fp32", replace(MEASURED, candidates=512))])
def test_work_is_compared_with_the_first_engine_that_did_it(first: Result) -> None:
    rows = [first, Result("reference", MEASURED), Result("minkowski", replace(MEASURED, candidates=81))]
    assert notes(comparison(*rows))[-1] == "minkowski: its candidates or logits are not those of reference!"


def test_of_a_peer_whose_weights_differ_the_number_of_candidates_must_agree() -> None:
    def said(measured: Measured) -> bool:
        return "spconv fp16: its candidates" in "".join(notes(comparison(Result("native bf16", MEASURED), Result("spconv fp16", measured))))

    assert not said(replace(MEASURED, logits_mean=7.0))
    assert said(replace(MEASURED, candidates=81))


def test_bf16_may_differ_from_fp32_by_its_rounding() -> None:
    def said(mean: float) -> bool:
        row = Result("native fp32", replace(MEASURED, logits_mean=mean))
        return "native fp32: its candidates" in "".join(notes(comparison(Result("native bf16", MEASURED), row)))

    assert not said(-1.02)
    assert said(-1.1)


def test_the_heaviest_convolution_is_held_against_a_copy() -> None:
    heavy = {"candidates": 1000, "seconds": 0.002, "moved_bytes": 3 * 2**30, "dtype": "bfloat16"}
    found = comparison(Result("native bf16", MEASURED))
    found = replace(found, machine=MACHINE | {"heaviest": [heavy], "ceilings": {"copy_gb_s": 3000.0}})
    line = next(line for line in notes(found) if line.startswith("Heaviest"))
    assert "1,000 sites in bfloat16: 2.00 ms to move 3,072 MiB at least, 1,611 GB/s: 54 % of what a copy moves." in line
    found = replace(
        found, machine=MACHINE | {"heaviest": [{"dtype": "bfloat16", "not_measured": "out of memory."}], "ceilings": {"copy_gb_s": 3000.0}}
    )
    assert "Heaviest convolution in bfloat16: not measured: out of memory." in notes(found)


def test_bytes_of_the_heaviest_convolution(masks: list[torch.Tensor]) -> None:
    found = heaviest(masks, 8, torch.device("cpu"), torch.float32)
    sites = SiteSet.from_masks(masks, "reference")
    candidates = len(sites.parents.reached(2))
    grid = sites.words.numel()
    features, bits, weights = 32 * (candidates + len(sites)), 3 * (8 * grid + 4 * (grid + 1)), 4 * (27 * 64 + 8 + 8)
    assert found.candidates == candidates
    assert found.moved_bytes == features + bits + weights + 4 * candidates + 8 * grid
    assert found.seconds > 0


@pytest.mark.parametrize(("device", "channels"), [("cpu", 22), ("cuda", 24)])
def test_the_heaviest_convolution_has_the_channels_that_a_plan_computes(
    device: str, channels: int, masks: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save(tmp_path / "masks.npz", [mask.numpy() for mask in masks])
    asked = Mock(return_value=Heaviest(0, 0.0, 0, ""))
    monkeypatch.setattr("calvaria.bench.heaviest.heaviest", asked)
    monkeypatch.setattr("sys.argv", ["heaviest", json.dumps([str(tmp_path), "ch2", device, "float32"])])
    measure_heaviest()
    assert asked.call_args.args[1] == channels


def test_every_engine_that_a_gpu_has_is_compared_there() -> None:
    assert engine_names(DEFAULTS["cuda"])[:2] == ["native", "minkowski"]
    assert set(engine_names(DEFAULTS["cuda"])) == set(ENGINES) - {"reference"}
    assert set(engine_names(DEFAULTS["cpu"])) == set(ENGINES) - set(PEERS)


@pytest.mark.parametrize("listed", ["abacus", "", "native,native", "native,,dense"])
def test_unknown_or_repeated_engines_are_refused(listed: str) -> None:
    with pytest.raises(CalvariaError, match="Name some of: native, reference"):
        engine_names(listed)


def test_memory_that_can_be_had_is_some_of_what_the_machine_has() -> None:
    assert 2**20 < subjects.available_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_whole_grids_that_would_not_fit_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "available_bytes", lambda device: 10 * 2**30)
    mask = torch.zeros(1, 1, 1, dtype=torch.bool).expand(513, 513, 513)  # 576³ when padded: 764 MB a channel
    with pytest.raises(NotMeasured, match="would need 26 GiB, and 10 GiB are free"):
        load("dense fp32", example_network("ch1").eval(), torch.device("cpu"))([mask])


@pytest.fixture
def masks() -> list[torch.Tensor]:
    mask = torch.zeros(20, 21, 22, dtype=torch.bool)
    mask[4:9, 3:17, 5:8] = True
    return [mask, mask.flip(0)]


def loaded(name: str, network: EncoderDecoder) -> Subject:
    try:
        return load(name, network, torch.device("cpu"))
    except NotMeasured as reason:
        pytest.skip(str(reason))


SPARSE = ["reference", "native", "minkowski"]


@pytest.mark.parametrize("name", SPARSE)
def test_an_answer_keeps_exactly_the_inputs_sites(name: str, masks: list[torch.Tensor]) -> None:
    network = example_network("ch1").eval()
    sites = SiteSet.from_masks(masks, "reference")
    with torch.no_grad():
        expected = network(sites, sites, forced=True)[-1].logits
    torch.testing.assert_close(loaded(name, network)(masks)(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", SPARSE)
def test_every_step_of_training_leaves_the_gradient_of_one_step(name: str, masks: list[torch.Tensor]) -> None:
    def gradient(name: str, steps: int) -> torch.Tensor:
        network = example_network("ch1").train()
        run = loaded(name, network)(masks)
        for _ in range(steps):
            run()
        assert network.stem.weight.grad is not None
        return network.stem.weight.grad

    expected = gradient("reference", 1)
    torch.testing.assert_close(gradient(name, 2), expected, atol=1e-2 * float(expected.abs().max()), rtol=0)
