"""An engine is chosen by name, said once, and never exchanged silently."""

import logging
from collections.abc import Iterator

import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.sparse import engines
from calvaria.sparse.engines import choose


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    choose.cache_clear()
    yield
    choose.cache_clear()


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_obstacle", lambda device_type: "there was no compiler")


def test_reference_always_runs() -> None:
    assert choose("reference", "cpu") == "reference"


def test_reference_runs_on_any_device_and_the_native_engine_on_those_it_has_kernels_for() -> None:
    assert choose("reference", "mps") == choose("auto", "mps") == "reference"
    with pytest.raises(CalvariaError, match="no kernels for mps"):
        choose("native", "mps")


def test_auto_takes_the_native_engine_where_it_runs() -> None:
    try:
        native = choose("native", "cpu")
    except CalvariaError as obstacle:
        pytest.skip(str(obstacle))
    assert choose("auto", "cpu") == native == "native"


def test_without_a_native_engine_auto_says_so_once_and_takes_the_reference(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken(monkeypatch)
    with caplog.at_level(logging.INFO):
        assert [choose("auto", "cpu") for _ in range(3)] == ["reference"] * 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "no compiler" in said[0]
    assert "reference" in said[1]


def test_a_native_engine_asked_for_by_name_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    with pytest.raises(CalvariaError, match="no compiler") as refused:
        choose("native", "cpu")
    assert refused.value.code == ErrorCode.BAD_OPTION


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CalvariaError, match="auto, native, reference"):
        choose("fast", "cpu")
