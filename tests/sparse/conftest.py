"""The engines that this machine can run: every test of the sparse operations runs on each."""

import pytest

from calvaria.sparse.engines import EngineUnavailable, choose


@pytest.fixture(scope="module", params=["reference", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    try:
        return choose(request.param, "cpu")
    except EngineUnavailable as obstacle:
        pytest.skip(str(obstacle))
