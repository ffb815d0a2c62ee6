"""How many cores there are, and how workers share them."""

import os
from pathlib import Path

import pytest

from calvaria.cores import cores, threads_each


@pytest.mark.parametrize(("quota", "found"), [("max 100000\n", 8), ("150000 100000\n", 2), ("50000 100000", 1), ("9000000 100000", 8)])
def test_a_containers_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, found: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path / "cpu.max") == found
    assert cores(tmp_path / "none") == 8


@pytest.mark.parametrize(("workers", "available", "each"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 2, 1), (0, 4, 4)])
def test_together_workers_have_no_more_threads_than_there_are_cores(workers: int, available: int, each: int) -> None:
    assert threads_each(workers, available) == each
