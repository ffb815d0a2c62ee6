"""What docs/ say that a test can hold them to."""

import ast
import importlib
import json
import re
import shlex
from pathlib import Path

import click
import pytest
from typer.main import get_command

from calvaria.cli import app
from calvaria.serving.logline import request_line
from calvaria.serving.service import Request, Service
from calvaria.training.config import TrainConfig
from calvaria.training.widening import widened
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights

ROOT = Path(__file__).resolve().parent.parent
SECURITY, OPERATIONS = ((ROOT / "docs" / name).read_text() for name in ("security.md", "operations.md"))
THREATS = re.findall(r"^\| (?!threat|---)(.+) \| (.+) \| (.+) \|$", SECURITY, re.MULTILINE)


@pytest.mark.parametrize("threat", THREATS, ids=lambda row: row[0][:40])
def test_each_threat_has_tests_that_exist(threat):
    names = re.findall(r"`([\w/]+\.py)`", threat[2])
    assert names
    for name in names:
        assert list(ROOT.glob(f"tests/**/{name.removeprefix('tests/')}")), name


def test_there_are_threats():
    assert len(THREATS) >= 12


def test_the_fields_of_a_logged_request_are_documented(predictor):
    """The example has them all, in order, and each has a row, but for the one of failures."""
    (response,) = Service(predictor).handle([Request(b"")])
    fields = list(json.loads(request_line("id", "completion", 1, Request(b""), response)))
    (example,) = re.findall(r"```json\n(.*)\n```", OPERATIONS)
    assert list(json.loads(example)) == fields
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", OPERATIONS, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= {*fields, "failure"}


DOCUMENTS = [*ROOT.glob("docs/*.md"), *ROOT.glob("models/*/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def anchors(document: Path) -> set[str]:
    """What a link may name in a document: its headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text()):
        named = document.parent / target if target else document
        assert named.exists(), target
        assert not anchor or anchor in anchors(named), f"{target}#{anchor}"


TRAINED = r"calvaria train \S+ --config (\S+)(?: |\\\n)+[^\n]*(?:\\\n[^\n]*)?--start (models/\S+)"


DATA = (ROOT / "docs" / "data.md").read_text()
EDITED = {edited: shipped for shipped, edited in re.findall(r"^sed \S.* (models/\S+\.toml) > (\S+)", DATA, re.MULTILINE)}


@pytest.mark.parametrize(("config", "folder"), re.findall(TRAINED, DATA))
def test_what_ships_can_go_on_learning_as_documented(config, folder):
    wanted = TrainConfig.read(ROOT / EDITED.get(config, config))
    shipped = load_weights(ROOT / folder / (CLOSE_UP if wanted.second else WEIGHTS))[0]
    assert widened(shipped, wanted.network, seed=0).keys() == shipped.state_dict().keys()


def typed(document: Path) -> list[str]:
    """The lines of a document's blocks of shell that call `calvaria`, each in one piece and without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    lines = (re.sub(r"\s+#.*", "", line) for block in blocks for line in block.replace("\\\n", " ").splitlines())
    found = (re.match(r"(?:\w+=\S+ |/usr/bin/time -v )*(?:\.venv/bin/)?calvaria (.*)", line) for line in lines)
    return [re.split(r" [|>&]", match[1])[0] for match in found if match and "…" not in match[1]]


@pytest.mark.parametrize("line", sorted({line for document in DOCUMENTS for line in typed(document)}))
def test_commands_take_what_documents_give_them(line):
    command: click.Command = get_command(app)
    words = shlex.split(line)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_documents_compiles_and_imports_what_there_is(document):
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block.replace("…", "..."))):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
