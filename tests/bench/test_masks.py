import json
from pathlib import Path

import pytest

from calvaria.cli import main


def calvaria(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["calvaria", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_every_passage_is_measured_from_both_orders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--volume", "shell:32", "--engine", "reference", "--repeat", 3, "--json", tmp_path / "masks.json"]
    assert calvaria(monkeypatch, "bench", "masks", *words) == 0
    passages = json.loads((tmp_path / "masks.json").read_text())["passages"]
    assert [(each["what"].startswith("mask"), each["order"]) for each in passages].count((True, "x fastest")) == 2
    assert all(len(each["seconds"]) == 3 for each in passages)
    printed = capsys.readouterr().out
    assert all(each["what"] in printed for each in passages)


@pytest.mark.parametrize("words", [["masks"], ["engines", "--engines", "native"]])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert calvaria(monkeypatch, "bench", *words, "--volume", "one:4", "--json", tmp_path) == 2
    said = capsys.readouterr()
    assert (said.out, "cannot be written" in said.err) == ("", True)


@pytest.mark.parametrize("command", ["masks", "engines"])
@pytest.mark.parametrize("before", [None, "{}"])
def test_of_a_volume_that_is_none_nothing_is_measured_or_written(
    command: str, before: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("calvaria.bench.engines.alone", None)
    out = tmp_path / "bench.json"
    if before:
        out.write_text(before)
    assert calvaria(monkeypatch, "bench", command, "--volume", "one:abacus", "--json", out) == 2
    assert (out.read_text() if out.exists() else None) == before


def test_an_engine_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert calvaria(monkeypatch, "bench", "masks", "--volume", "one:4", "--engine", "abacus") == 2
    assert "[bad-option]" in capsys.readouterr().err
