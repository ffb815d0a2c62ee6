"""Several processes train one network: each on its share, all on the mean gradient."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calvaria.errors import CalvariaError
from calvaria.networks import EncoderDecoder
from calvaria.sparse import SiteSet
from calvaria.training.config import TrainConfig
from calvaria.training.data import Example
from calvaria.training.examples import training_examples, training_seeds, validation_seeds
from calvaria.training.fit import fit, learning_rate
from calvaria.training.loss import pyramid_loss
from calvaria.training.run import run
from calvaria.training.skulls import store
from calvaria.training.team import Team
from calvaria.weights import load_weights

FILE = """
task = "completion"
seed = 5
validation_skulls = 1
[network]
channels = [4, 4, 8, 8, 8, 8, 8]
[settings]
spacing_mm = 6.0
[data]
skulls = 2
finer = 1.5
[optimizer]
steps = 1
batch = 2
warmup = 1
"""


def test_every_example_belongs_to_exactly_one_process_and_to_the_same_batch_as_alone() -> None:
    shares = [Team(rank, 2).share(4, 12) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(4, 12))
    assert [sorted(a + b) for a, b in zip(*([share[:2], share[2:]] for share in shares), strict=True)] == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_batch_that_cannot_be_shared_evenly_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.toml"
    path.write_text(FILE)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(CalvariaError, match="batch of 2 cannot be shared evenly by 3"):
        run("completion", path, tmp_path / "runs" / "any", "cpu")
    assert not (tmp_path / "runs").exists()


def test_processes_do_not_share_a_gpu_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Team(1, 2).device("cuda") == "cuda:1"
    assert Team().device("cuda:0") == "cuda:0"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CalvariaError, match="say --device cuda"):
        Team.assemble("cuda:0")


def test_the_gpu_that_is_trained_on_is_made_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number, which `cuda` alone does not have."""
    path = tmp_path / "train.toml"
    path.write_text(FILE)

    class Chosen(Exception):
        pass

    def choose(device: int) -> None:
        raise Chosen(device)

    monkeypatch.setattr(torch.cuda, "set_device", choose)
    for device, number in (("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)):
        with pytest.raises(Chosen) as caught:
            fit(TrainConfig.read(path), tmp_path / "any", device)
        assert caught.value.args == (number,)


@pytest.mark.slow
def test_two_processes_take_the_step_of_the_mean_gradient(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(FILE)
    config = TrainConfig.read(path)
    assert list(store(config, tmp_path / "any").make([*training_seeds(config), *validation_seeds(config)], workers=2))
    script = f"""
from pathlib import Path
from calvaria.training.config import TrainConfig
from calvaria.training.fit import fit

fit(TrainConfig.read(Path({str(path)!r})), Path({str(tmp_path / "pair")!r}))
"""
    (tmp_path / "run.py").write_text(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "run.py")]
    subprocess.run(torchrun, check=True, capture_output=True, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"})
    together, *_ = load_weights(tmp_path / "pair" / "weights.safetensors")

    examples = training_examples(config, tmp_path / "pair")
    torch.manual_seed(config.seed)
    network = EncoderDecoder(config.network)
    gradients = [gradient(network, examples[number]) for number in range(2)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate(1, config.optimizer), weight_decay=0.01, amsgrad=True)
    for parameter, *each in zip(network.parameters(), *gradients, strict=True):
        parameter.grad = None if each[0] is None else (each[0] + each[1]) / 2
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    for mine, theirs in zip(network.parameters(), together.parameters(), strict=True):
        if mine.grad is not None:  # Adam's first step is the gradient's sign, which rounding decides where it is nothing
            clear = mine.grad.abs() > 2e-3 * mine.grad.abs().max()
            torch.testing.assert_close(mine[clear], theirs[clear], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_where_one_of_two_is_asked_to_stop_both_do_after_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(FILE.replace("steps = 1", "steps = 5000"))
    config = TrainConfig.read(path)
    assert list(store(config, tmp_path / "any").make([*training_seeds(config), *validation_seeds(config)], workers=2))
    (tmp_path / "run.py").write_text(f"""
import os, signal, threading, time
from pathlib import Path
from calvaria.training.config import TrainConfig
from calvaria.training.fit import fit
from calvaria.training.stopping import Stopped

def stop():
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # until it trains
        time.sleep(0.1)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGTERM)

if os.environ["RANK"] == "1":
    threading.Thread(target=stop).start()
try:
    fit(TrainConfig.read(Path({str(path)!r})), Path({str(tmp_path / "pair")!r}))
except Stopped as stopped:
    (Path({str(tmp_path)!r}) / os.environ["RANK"]).write_text(str(stopped.step))
""")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "run.py")]
    subprocess.run(torchrun, check=True, capture_output=True, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"})
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() != "0"
    assert torch.load(tmp_path / "pair" / "checkpoint.pt", weights_only=True)["progress"]["step"] == int((tmp_path / "0").read_text())


def test_processes_that_found_different_checkpoints_are_told(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(f"""
from pathlib import Path
from calvaria.errors import CalvariaError
from calvaria.training.team import Team

team = Team.assemble("cpu")
team.check_together(7, "cpu")
try:
    team.check_together(7 + team.rank, "cpu")
except CalvariaError as error:
    (Path({str(tmp_path)!r}) / str(team.rank)).write_text(error.message)
""")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "run.py")]
    subprocess.run(torchrun, check=True, capture_output=True, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"})
    assert "must be one folder that all of them see" in (tmp_path / "0").read_text() == (tmp_path / "1").read_text()


def gradient(network: EncoderDecoder, example: Example) -> list[torch.Tensor | None]:
    network = copy.deepcopy(network).train()
    given, wanted = (SiteSet.from_masks([torch.from_numpy(mask)]) for mask in (example.sites, example.wanted > 0))
    pyramid_loss(network(given, wanted), given, wanted).backward()
    return [parameter.grad for parameter in network.parameters()]


def test_alone_a_team_of_one_is_no_team() -> None:
    assert Team.assemble("cpu") == Team(0, 1)
    assert Team().device("cuda") == "cuda"
