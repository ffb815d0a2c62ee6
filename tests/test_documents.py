"""What docs/ say that a test can hold them to."""

import json
import re
from pathlib import Path

import pytest

from calvaria.serving.logline import request_line
from calvaria.serving.service import Request, Service

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


def test_links_between_documents_lead_somewhere():
    for document in [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
