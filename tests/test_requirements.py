"""The locked versions: of everything, for any machine."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKED = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_declared_requirement_is_locked_and_what_builds_the_project_too() -> None:
    project = PROJECT["project"]
    extras = {name: group for name, group in project["optional-dependencies"].items() if name != "interpreter"}  # Triton is of a GPU
    groups = [project["dependencies"], *extras.values(), PROJECT["build-system"]["requires"]]
    declared = {re.split(r"[<>=]", requirement)[0].lower() for group in groups for requirement in group}
    assert declared <= LOCKED.keys()


def test_versions_are_plain_and_no_gpu_is_presumed() -> None:
    assert LOCKED["torch"] == "2.13.0"
    for name, version in LOCKED.items():
        assert re.fullmatch(r"\d+(\.\w+)*", version), name
        assert not re.match(r"nvidia-|cuda-|triton", name)
