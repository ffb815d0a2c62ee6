"""What a server is started with."""

from pathlib import Path

import pytest
from psutil import Process

from calvaria.cores import cores
from calvaria.errors import CalvariaError
from calvaria.server.processes import Processes
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


def test_a_refusal_names_the_command_for_this_very_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed without a folder, it would stop the server of the folder where the user is."""
    folder = tmp_path / "a server"
    folder.mkdir()
    (folder / CONFIG).write_text("model_store=.\n")
    server = Server(folder)
    monkeypatch.setattr(Processes, "living", lambda _: [Process()])
    for place, words in ((folder, "calvaria stop"), (tmp_path, "calvaria stop --folder 'a server'")):
        monkeypatch.chdir(place)
        with pytest.raises(CalvariaError, match=f"already runs in .* Stop it with `{words}`"):
            server.start()


def test_the_file_of_a_server_that_runs_is_not_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG).write_text("model_store=.\n")
    monkeypatch.setattr(Processes, "living", lambda _: [Process()])
    with pytest.raises(CalvariaError, match="already runs in"):
        Server.apart(tmp_path, tmp_path / CONFIG)
    assert (tmp_path / CONFIG).read_text() == "model_store=.\n"


@pytest.mark.parametrize(("workers", "share"), [(1, 1), (2, 2)])
def test_workers_of_one_model_share_the_cores_whatever_other_models_there_are(workers: int, share: int, tmp_path: Path) -> None:
    models = ",".join(f"{name}.mar" for name in ("completion", "super-resolution", "refinement"))
    (tmp_path / CONFIG).write_text(f"model_store=.\nload_models={models}\ndefault_workers_per_model={workers}\n")
    assert Server(tmp_path).threads == max(1, cores() // share)
