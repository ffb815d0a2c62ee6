"""What a server is started with."""

from pathlib import Path

import pytest

from calvaria.server.server import Server
from calvaria.server.settings import CONFIG


def test_an_account_without_a_home_keeps_kernels_for_a_gpu_in_the_servers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton, which compiles them, could not make its own folder there, and no worker would start."""
    (tmp_path / CONFIG).write_text("model_store=.\nload_models=completion.mar\n")
    server = Server(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "TRITON_CACHE_DIR" not in server._environment({})
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    assert server._environment({})["TRITON_CACHE_DIR"] == str(tmp_path / ".run" / "kernels")
    assert server._environment({"TRITON_CACHE_DIR": "/elsewhere"})["TRITON_CACHE_DIR"] == "/elsewhere"
    assert "TRITON_CACHE_DIR" not in server._environment({"TRITON_HOME": str(tmp_path)})
