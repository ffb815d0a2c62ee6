"""How many log files are kept, by what `log4j2.xml` says."""

import re
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

import pytest

CONFIGURATION = ElementTree.parse(Path(__file__).resolve().parents[2] / "log4j2.xml")
FILES = CONFIGURATION.findall(".//RollingFile")


@pytest.mark.parametrize("file", FILES, ids=[file.get("name") for file in FILES])
def test_what_is_rolled_over_is_deleted_in_the_end_and_nothing_else(file):
    delete = file.find("DefaultRolloverStrategy/Delete")
    assert delete.find("IfAccumulatedFileCount").get("exceeds") == "5"
    folder, pattern = file.get("filePattern").rsplit("/", 1)
    assert delete.get("basePath") == folder
    glob = delete.find("IfFileName").get("glob")
    assert fnmatch(re.sub(r"%d\{.*?\}", "2026-11-27", pattern).replace("%i", "3"), glob)
    others = [other for other in FILES if other is not file]
    assert not any(fnmatch(other.get(name).rsplit("/", 1)[1], glob) for other in others for name in ("fileName", "filePattern"))
    assert not fnmatch(file.get("fileName").rsplit("/", 1)[1], glob)


def test_there_are_four():
    assert len(FILES) == 4
