"""Weights on disk: safetensors, with what the network is and what it was trained for as JSON in the header. No pickle anywhere."""

import json
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import write_file
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.tasks import TASKS, Settings, Task

WEIGHTS = "weights.safetensors"
CLOSE_UP = "close-up.safetensors"
"""The network of a task's second look, where it has one."""


def save_weights(path: Path, network: EncoderDecoder, task: Task, settings: Settings) -> None:
    """Errors as of `write_file`."""
    header = {"task": task.name, "network": json.dumps(asdict(network.config)), "settings": json.dumps(asdict(settings))}
    save_state(path, network, header)


def save_state(path: Path, network: torch.nn.Module, header: dict[str, str] | None = None) -> None:
    """The parameters of any network, the same bytes for the same ones. Errors as of `write_file`."""
    write_file(path, _in_order(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, metadata=header)))


def _in_order(content: bytes) -> bytes:
    """A file of safetensors with the entries of its metadata in order: they come in another one every time, and hashes name weights."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_weights(path: Path) -> tuple[EncoderDecoder, Task, Settings]:
    """Network, task and settings. CalvariaError BAD_OPTION without a file, or for one that holds no weights of this project."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        inside = ", ".join(str(other.parent) for other in sorted(path.parent.glob(f"*/{path.name}")))
        hint = f"They are in {inside}" if inside else "Name another folder, or make them with `calvaria train`"
        raise bad_option(f"There are no weights at {path}. {hint}.") from error
    except (OSError, SafetensorError) as error:
        raise _no_weights(path, f"is not a safetensors file ({error})") from error
    if header.get("task") not in TASKS:
        raise _no_weights(path, f"holds no weights for any of the tasks {', '.join(TASKS)}")
    task = TASKS[header["task"]]
    try:
        network = EncoderDecoder(NetworkConfig(**json.loads(header["network"])))
        network.load_state_dict(state)
        settings = Settings(**json.loads(header["settings"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _no_weights(path, f"holds weights of another version of Calvaria ({error})") from error
    return network, task, settings


def _no_weights(path: Path, reason: str) -> CalvariaError:
    return bad_option(f"{path} {reason}. Copy it again, or make it with `calvaria train`.")


def weights_sha256(folder: Path) -> dict[str, str]:
    """What names a model's weights beyond doubt: the SHA-256 of each of its files of weights, in hexadecimal."""
    hashes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            hashes[path.name] = file_digest(file, "sha256").hexdigest()
    return hashes


def model_folder(task: str, models: Path | None = None) -> Path:
    """models/<task>, under the given folder or else where this checkout ships its models.

    CalvariaError UNKNOWN_MODEL for an unknown task, BAD_OPTION where no folder is given and this is no checkout.
    """
    if task not in TASKS:
        raise CalvariaError(ErrorCode.UNKNOWN_MODEL, f"There is no task {task!r}. Choose one of: {', '.join(TASKS)}.")
    shipped = Path(__file__).parents[1] / "models"
    if models is None and not shipped.is_dir():
        raise bad_option(f"{shipped} is not there: weights come with a checkout, in models/. Name that folder with --models.")
    return (models or shipped) / task
