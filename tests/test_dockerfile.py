"""The Dockerfile, read: no build service is at hand here."""

import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.main import get_command

from calvaria.cli import app
from calvaria.server.settings import CONFIG, ServerSettings

ROOT = Path(__file__).resolve().parent.parent
LINES = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


COPIED = [source for rest in arguments("COPY") if "--from=" not in rest for source in rest.split()[:-1] if not source.startswith("--")]


def sent(path: Path) -> bool:
    """Whether .dockerignore lets a path through; the last line that fits decides."""
    verdict = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        names = path.parts if line.startswith("**/") else [str(path), *map(str, path.parents)]
        if any(fnmatch(name, pattern) for name in names):
            verdict = line.startswith("!")
    return verdict


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_is_there_and_sent(source):
    assert (ROOT / source).exists()
    assert sent(Path(source))


def test_nothing_else_is_sent():
    for name in ("key_file.json", "logs/requests.jsonl", ".git/config", "runs/x", "tests/conftest.py", "calvaria/__pycache__/x.pyc"):
        assert not sent(Path(name)), name


def test_the_last_stage_is_run_by_a_user_without_rights():
    assert arguments("USER") == ["calvaria"]
    assert "useradd" in " ".join(arguments("RUN"))
    assert [name for name, _ in INSTRUCTIONS].index("USER") < [name for name, _ in INSTRUCTIONS].index("CMD")


@pytest.mark.parametrize("instruction", ["CMD", "HEALTHCHECK"])
def test_its_commands_exist(instruction):
    (rest,) = arguments(instruction)
    program, command, *options = re.findall(r'"([^"]+)"', rest)
    assert program == "calvaria"
    taken = get_command(app).commands[command]
    assert {option for parameter in taken.params for option in parameter.opts} >= set(options)


def test_only_predictions_and_metrics_leave_the_container(tmp_path):
    (tmp_path / CONFIG).write_text((ROOT / CONFIG).read_text())
    (edit,) = [rest for rest in arguments("RUN") if rest.startswith("sed --in-place")]
    subprocess.run(shlex.split(edit), cwd=tmp_path, check=True)
    settings = ServerSettings.read(tmp_path / CONFIG)
    addresses = "inference_address", "metrics_address", "grpc_inference_address"
    assert [settings.values[name] for name in addresses] == ["http://0.0.0.0:8080", "http://0.0.0.0:8082", "0.0.0.0"]
    assert settings.url("management") == "http://127.0.0.1:8081"
    assert settings.values["grpc_management_address"] == "127.0.0.1"
    changed = {name for name, value in settings.values.items() if value != ServerSettings.read(ROOT / CONFIG).values[name]}
    assert changed == {"inference_address", "metrics_address", "grpc_inference_address"}
    assert settings.ports[0] == 8080
    assert arguments("EXPOSE") == ["8080 7070 8082"]


def test_what_is_installed_is_what_is_locked():
    """The words that the first stage looks for in other files."""
    assert re.search(r"^torch==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert re.search(r"^TORCH_CPU_INDEX := \S+$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.search(r"^setuptools==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
