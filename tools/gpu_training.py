"""`calvaria train` as its users start it, on a GPU: in mixed precision, stopped and gone on with, under torchrun, and the dense twin."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from calvaria.training.history import HISTORY
from calvaria.weights import WEIGHTS

RECIPE = """
task = "completion"
seed = 5
validate_every = 3
validation_skulls = 1
{options}
[network]
channels = [8, 16, 16, 32, 32, 32, 32]
[settings]
spacing_mm = 4.0
[data]
skulls = 4
[optimizer]
steps = 6
batch = {batch}
warmup = 2
precision = "{precision}"
"""


def learn(device: str = "cuda", precision: str = "bf16", processes: int | None = None) -> None:
    """Six steps alone, again in two parts (the same weights), under torchrun (`processes`: as many as there are GPUs), and of the dense
    twin. Every run must end well and leave its weights.
    """
    import torch

    processes = processes or torch.cuda.device_count()
    with TemporaryDirectory() as place:
        runs = Path(place) / "runs"

        def train(name: str, options: str = "", several: bool = False) -> Path:
            recipe = Path(place) / "train.toml"
            batch = 2 * processes if several else 2
            recipe.write_text(RECIPE.format(options=options, batch=batch, precision=precision))
            starter = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if several else []
            command = [sys.executable, *(["-m", *starter] if several else []), "-m", "calvaria.cli", "train", "completion"]
            began = time.perf_counter()
            subprocess.run([*command, "--config", recipe, "--out", runs / name, "--device", device], check=True)
            print(f"learn: {name}, {time.perf_counter() - began:.0f} s; {(runs / name / HISTORY).read_text().splitlines()[-1]}")
            return runs / name

        whole = train("whole")
        train("parts", "until = 3")
        if (whole / WEIGHTS).read_bytes() != (train("parts") / WEIGHTS).read_bytes():
            raise RuntimeError("a run in two parts gave other weights than one without a stop")
        train("together", several=True)
        train("twin", "dense = true")
