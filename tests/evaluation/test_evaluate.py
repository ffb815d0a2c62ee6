import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.completion import DEFECTS, INTACT
from calvaria.evaluation.evaluate import MODEL, Evaluation
from calvaria.evaluation.records import Record, Row
from calvaria.evaluation.scoring import Band, Case, Method, Outputs, Planned, Scoring
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume
from tests.full_disk import no_file_above

QUICK = replace(DEFECTS, picture=None)
NAMES = tuple(figure.name for figure in DEFECTS.figures)


def bowl(depth: int = 2) -> BinaryVolume:
    mask = np.zeros((24, 24, 24), dtype=bool)
    mask[2:22, 2:22, 2 : 2 + depth] = True
    return BinaryVolume.on_grid(mask, (3.0, 3.0, 3.0))


def case() -> Case:
    whole = bowl()
    piece = np.zeros_like(whole.mask)
    piece[8:14, 8:14] = whole.mask[8:14, 8:14]
    return Case(whole.like(whole.mask & ~piece), whole.like(piece))


def planned(count: int = 3) -> list[Planned]:
    names = [(f"case {i}", "odd" if i % 2 else "even", f"skull {i}") for i in range(count)]
    return [Planned(name, kind, skull, case) for name, kind, skull in names]


def perfect(given: BinaryVolume, extras: Extras) -> Outputs:
    return {"completed": bowl(), "implant": given.like(bowl().mask & ~given.mask)}


def idle(given: BinaryVolume, extras: Extras) -> Outputs:
    return {"completed": given, "implant": given.like(np.zeros_like(given.mask))}


def evaluation(path: Path, methods: dict[str, Method] | None = None, scoring: Scoring = QUICK, **arguments: object) -> Evaluation:
    record = Record(path, tuple(figure.name for figure in scoring.figures), arguments)
    return Evaluation(scoring, methods or {MODEL: perfect, "idle": idle}, record)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def raising(error: Exception) -> Callable[..., object]:
    def method(*_: object) -> object:
        raise error

    return method


def test_every_method_is_scored_on_every_case(tmp_path: Path) -> None:
    evaluation(tmp_path / "new" / "scores.csv").run(planned(2))
    rows = read(tmp_path / "new" / "scores.csv")
    assert [(row["case"], row["method"]) for row in rows] == [(f"case {i}", name) for i in range(2) for name in (MODEL, "idle")]
    assert [float(row["implant_dice"]) for row in rows] == [1, 0, 1, 0]
    assert [float(row["hd95_mm"]) for row in rows] == [0, np.inf, 0, np.inf]
    assert {row["exit_code"] for row in rows} == {"0"}


def test_an_error_in_one_case_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    refused = Planned("refused", "even", "s", raising(CalvariaError(ErrorCode.TRUNCATED, "Half a file.")))
    broken = Planned("broken", "even", "s", raising(ZeroDivisionError()))
    methods: dict[str, Method] = {MODEL: raising(MemoryError()), "idle": idle}  # type: ignore[dict-item]
    evaluation(tmp_path / "scores.csv", methods).run([refused, broken, *planned(1)])
    rows = [(row["case"], row["method"], row["exit_code"], row["error"]) for row in read(tmp_path / "scores.csv")]
    assert rows == [
        ("refused", MODEL, "2", "truncated"),
        ("refused", "idle", "2", "truncated"),
        ("broken", MODEL, "1", "internal"),
        ("broken", "idle", "1", "internal"),
        ("case 0", MODEL, "1", "out-of-memory"),
        ("case 0", "idle", "0", ""),
    ]


def test_what_went_wrong_is_told_in_a_sentence_too(tmp_path: Path) -> None:
    refused = Planned("refused", "even", "s", raising(CalvariaError(ErrorCode.TRUNCATED, "Half a file, or less.")))
    evaluation(tmp_path / "scores.csv").run([refused, *planned(1)])
    assert [row["message"] for row in read(tmp_path / "scores.csv")] == ["Half a file, or less."] * 2 + [""] * 2


def test_a_picture_that_cannot_be_made_loses_no_score(tmp_path: Path) -> None:
    record = Record(tmp_path / "scores.csv", tuple(figure.name for figure in QUICK.figures), {})
    broken = replace(QUICK, picture=raising(RuntimeError("no room on the disk")))  # type: ignore[arg-type]
    Evaluation(broken, {MODEL: perfect}, record).run(planned(2))
    assert [row["error"] for row in read(tmp_path / "scores.csv")] == ["", ""]


def test_an_answer_that_cannot_be_scored_is_that_cases_error(tmp_path: Path) -> None:
    methods: dict[str, Method] = {
        MODEL: lambda given, finer: {name: BinaryVolume.on_grid(given.mask, (1, 1, 1)) for name in perfect(given, finer)}
    }
    evaluation(tmp_path / "scores.csv", methods).run(planned(1))
    assert [(row["error"], row["implant_dice"]) for row in read(tmp_path / "scores.csv")] == [("internal", "")]


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    evaluation(path).run(planned(3))
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + lines[4][:20])  # killed within the second row of the second case
    made = []
    counted = [replace(each, make=lambda each=each: made.append(each.name) or each.make()) for each in planned(3)]
    evaluation(path).run(counted)
    assert made == ["case 1", "case 2"]
    assert [row["case"] + row["method"] for row in read(path)] == [f"case {i}{name}" for i in range(3) for name in (MODEL, "idle")]
    assert path.read_text().splitlines()[:4] == whole.splitlines()[:4]
    evaluation(path, {MODEL: raising(AssertionError("nothing is left to do"))}).run(planned(3))  # type: ignore[dict-item]


def test_what_failed_is_tried_again_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    lost = Planned("lost", "odd", "s", raising(MemoryError()))
    evaluation(path).run([lost, *planned(2)])
    before = [row for row in read(path) if not row["error"]]
    evaluation(path, {MODEL: perfect, "idle": raising(AssertionError("it has answered"))}).run(  # type: ignore[dict-item]
        [replace(planned(1)[0], name="lost"), *planned(2)]
    )
    after = read(path)
    assert after[:4] == before
    assert [(row["case"], row["method"], row["error"]) for row in after[4:]] == [("lost", MODEL, ""), ("lost", "idle", "internal")]


def test_rows_of_other_arguments_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    evaluation(path, weights="a").run(planned(1))
    with pytest.raises(CalvariaError, match="Choose another --out") as refusal:
        evaluation(path, weights="b")
    assert refusal.value.code is ErrorCode.BAD_OPTION
    evaluation(path, weights="a").run(planned(1))
    path.with_suffix(".json").unlink()
    with pytest.raises(CalvariaError, match="Choose another --out"):
        evaluation(path, weights="a")


@pytest.mark.parametrize("name", ["scores", "scores.txt", "scores.json", "folder.csv"])
def test_results_go_into_a_csv_file_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(CalvariaError, match="must name a file that ends in") as refusal:
        evaluation(tmp_path / name)
    assert refusal.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize(("suffix", "damage"), [(".json", "{"), (".json", "[]"), (".csv", ",,,,,\n"), (".csv", "a,b,c,d,e,,,g,,\n")])
def test_damaged_results_are_refused(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / "scores.csv"
    evaluation(path).run(planned(1))
    damaged = path.with_suffix(suffix)
    damaged.write_text(damage if suffix == ".json" else damaged.read_text() + damage)
    with pytest.raises(CalvariaError, match="is damaged") as refusal:
        evaluation(path)
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_cases_may_be_added_and_those_of_other_files_are_scored_anew(tmp_path: Path) -> None:
    path, columns = tmp_path / "scores.csv", tuple(figure.name for figure in QUICK.figures)
    methods: dict[str, Method] = {MODEL: perfect}
    Evaluation(QUICK, methods, Record(path, columns, {}, {"case 0": "a", "case 1": "a"})).run(planned(2))
    now = Record(path, columns, {}, {"case 0": "a", "case 1": "b", "case 2": "a"})
    assert now.done == {("case 0", MODEL)}
    Evaluation(QUICK, methods, now).run(planned(3))
    assert [row["case"] for row in read(path)] == ["case 0", "case 1", "case 2"]
    with pytest.raises(CalvariaError, match="not among those asked for, such as case 0"):
        Record(path, columns, {}, {"case 1": "b", "case 2": "a"})


def test_a_record_that_cannot_be_begun_or_written_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for size in (0, 25):  # neither file, or the first alone
        with no_file_above(size), pytest.raises(CalvariaError, match="cannot be written: "):
            Record(path, ("dice",), {"seed": 1})
        assert not path.exists()
    record = Record(path, ("dice",), {"seed": 1})
    with no_file_above(path.stat().st_size + 5), pytest.raises(CalvariaError, match=r"scores\.csv cannot be written: "):
        record.add(Row("case 0", "a", "small", "ours"))
    record = Record(path, ("dice",), {"seed": 1})
    assert not record.rows
    record.add(Row("case 0", "a", "small", "ours"))
    assert Record(path, ("dice",), {"seed": 1}).done == {("case 0", "ours")}


def test_tables_tell_means_failures_and_the_difference(tmp_path: Path) -> None:
    console = Console(width=160, record=True, file=(tmp_path / "shown.txt").open("w"))
    cases = [*planned(4), Planned("lost", "odd", "s", raising(CalvariaError(ErrorCode.TRUNCATED, "Half a file.")))]
    assert evaluation(tmp_path / "scores.csv").report(cases, "four squares", console) == 2
    shown = console.export_text()
    assert (tmp_path / "scores.txt").read_text().count("1 failed") == 2
    assert "less idle (the strongest baseline), case by case: +1.000 (+1.000 to +1.000, 4 cases)" in shown
    assert "4 of 4" in shown
    assert "resamples of 4 skulls" in shown
    assert not (tmp_path / "scores.png").exists()


def test_cases_that_a_goal_is_set_for_have_a_summary_of_their_own(tmp_path: Path) -> None:
    console = Console(width=160, record=True, file=(tmp_path / "shown.txt").open("w"))
    scoring = replace(QUICK, band=Band("hd95_mm", 0, 5, "near ones"))
    evaluation(tmp_path / "scores.csv", scoring=scoring).report(planned(4), "four squares", console)
    of_all, of_near = console.export_text().split("Of these near ones")
    assert "idle" in of_all
    assert "idle" not in of_near.split("Means")[0], "its distances are infinite"
    assert "│     4 │" in of_near


def test_refusals_of_such_cases_are_counted_there_too(tmp_path: Path) -> None:
    console = Console(width=160, record=True, file=(tmp_path / "shown.txt").open("w"))
    methods = {MODEL: raising(CalvariaError(ErrorCode.FULL_MASK, "Full.")), "perfect": perfect}
    evaluation(tmp_path / "scores.csv", methods, replace(QUICK, band=Band("hd95_mm", 0, 5, "near ones"))).report(
        planned(4), "four", console
    )
    assert "4 failed" in console.export_text().split("Of these near ones")[1]


def test_no_picture_of_other_weights_stands_for_a_case_that_failed(tmp_path: Path) -> None:
    console = Console(record=True, width=160, file=(tmp_path / "shown.txt").open("w"))
    evaluation(tmp_path / "scores.csv", {MODEL: perfect}, DEFECTS).report(planned(2), "two squares", console)
    for name in ("scores.csv", "scores.json", "scores.txt", "scores.png"):
        (tmp_path / name).unlink()
    failing = {MODEL: raising(CalvariaError(ErrorCode.FULL_MASK, "Full."))}
    evaluation(tmp_path / "scores.csv", failing, DEFECTS).report(planned(2), "two squares", console)
    assert not list((tmp_path / "scores-pictures").iterdir())
    assert "have no picture" not in console.export_text()


def test_a_case_is_drawn_beside_its_answer_and_all_are_on_one_sheet(tmp_path: Path) -> None:
    drawn = evaluation(tmp_path / "scores.csv", {MODEL: perfect}, DEFECTS)
    drawn.report(planned(3), "three squares", Console(file=(tmp_path / "shown.txt").open("w")))
    strips = sorted((tmp_path / "scores-pictures").iterdir())
    assert [strip.name for strip in strips] == ["case 0.png", "case 1.png", "case 2.png"]
    with Image.open(strips[0]) as strip, Image.open(tmp_path / "scores.png") as sheet:
        pixels = np.asarray(strip).astype(int)
        assert sheet.size == (2 * strip.width, 2 * strip.height)
    thirds = np.split(pixels[:230], 3, axis=1)
    blue = [np.count_nonzero(view[..., 2] > view[..., 0] + 60) for view in thirds]
    assert blue[0] == 0
    assert blue[1] == blue[2] > 100


def test_a_sheet_that_cannot_be_written_is_named_and_leaves_the_one_before(tmp_path: Path) -> None:
    def report() -> None:
        console = Console(file=(tmp_path / "shown.txt").open("w"))
        evaluation(tmp_path / "scores.csv", {MODEL: perfect}, DEFECTS).report(planned(3), "squares", console)

    report()
    sheet = (tmp_path / "scores.png").read_bytes()
    with no_file_above(len(sheet) // 2), pytest.raises(CalvariaError, match=r"scores\.png cannot be written: "):
        report()
    assert (tmp_path / "scores.png").read_bytes() == sheet


def test_a_case_of_a_long_name_is_drawn(tmp_path: Path) -> None:
    (one,) = planned(1)
    drawn = evaluation(tmp_path / "scores.csv", {MODEL: perfect}, DEFECTS)
    long = replace(one, name="頭" * 40)
    assert drawn.report([long], "one square", Console(file=(tmp_path / "shown.txt").open("w"))) == 0
    assert len(list((tmp_path / "scores-pictures").iterdir())) == 1
    assert (tmp_path / "scores.png").exists()


def test_intact_skulls_are_counted_by_whether_they_got_an_implant(tmp_path: Path) -> None:
    scoring = replace(INTACT, picture=None)
    whole = Case(bowl(), bowl().like(np.zeros_like(bowl().mask)))

    def inventive(given: BinaryVolume, extras: Extras) -> Outputs:
        return {"completed": bowl(3), "implant": given.like(bowl(3).mask & ~given.mask)}

    methods = {MODEL: idle, "inventive": inventive}
    evaluation(tmp_path / "scores.csv", methods, scoring).run([Planned("whole", "intact", "whole", lambda: whole)])
    rows = read(tmp_path / "scores.csv")
    assert [float(row["implant"]) for row in rows] == [0, 1]
    assert float(rows[1]["implant_cm3"]) == pytest.approx(400 * 0.027)


@pytest.mark.parametrize("suffix", [".json", ".txt", ".png"])
def test_a_file_that_is_no_evaluations_is_not_overwritten(tmp_path: Path, suffix: str) -> None:
    mine = tmp_path / f"mine{suffix}"
    mine.write_text('{"my": "own"}')
    with pytest.raises(CalvariaError, match=rf"mine\{suffix} is no evaluation's"):
        Record(tmp_path / "mine.csv", ("dice",), {})
    assert mine.read_text() == '{"my": "own"}'
    assert list(tmp_path.iterdir()) == [mine]


def test_a_row_that_two_runs_wrote_counts_once(tmp_path: Path) -> None:
    runs = [Record(tmp_path / "scores.csv", ("dice",), {}) for _ in range(2)]
    for run in runs:
        run.add(Row("case 0", "skull", "kind", "model", figures={"dice": 0.5}))
    assert len(Record(tmp_path / "scores.csv", ("dice",), {}).rows) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CalvariaError, match="cannot be written"):
        Record(tmp_path / "file" / "scores.csv", ("dice",), {})


def test_a_name_that_is_no_unicode_comes_back(tmp_path: Path) -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    Record(tmp_path / "scores.csv", ("dice",), {}).add(Row(name, "skull", "kind", "model", figures={"dice": 0.5}))
    assert Record(tmp_path / "scores.csv", ("dice",), {}).rows[0].case == name


def test_cases_that_were_scored_without_pictures_are_told(tmp_path: Path) -> None:
    said = []
    for pictures in (False, True, True):
        console = Console(record=True, width=160, file=(tmp_path / "shown.txt").open("w"))
        run = Evaluation(
            DEFECTS, {MODEL: perfect}, Record(tmp_path / "scores.csv", tuple(figure.name for figure in DEFECTS.figures), {}), pictures
        )
        run.report(planned(3), "squares", console)
        said.append("3 cases have no picture" in console.export_text())
    assert said == [False, True, True]
