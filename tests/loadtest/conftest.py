from pathlib import Path

import pytest

from calvaria.server.settings import CONFIG, ServerSettings


@pytest.fixture
def repository() -> ServerSettings:
    """The configuration that is shipped."""
    return ServerSettings.read(Path(__file__).resolve().parents[2] / CONFIG)
