"""Several processes that train one network, each on its own device and its own share of every batch, as `torchrun` starts them."""

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from calvaria.cores import cores, threads_each
from calvaria.errors import bad_option

PATIENCE = timedelta(hours=2)
"""How long processes wait for the first, which alone makes and answers what validates."""


@dataclass(frozen=True)
class Team:
    """This process's place among them; a team of one is a process alone."""

    rank: int = 0
    size: int = 1

    @classmethod
    def assemble(cls, device: str) -> "Team":
        """Join the others if `torchrun` started this process, else alone.

        CalvariaError BAD_OPTION where several would share a GPU that is named.
        """
        if not launched():
            return cls()
        if (size := _told("WORLD_SIZE", 1)) > 1 and device.startswith("cuda:"):
            raise bad_option(f"{size} processes would share {device}. With torchrun say --device cuda.")
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
            atexit.register(distributed.destroy_process_group)  # or its threads, still at work, may abort the process as it ends
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process validates, saves and reports for all."""
        return self.rank == 0

    def device(self, device: str) -> str:
        """The device of this process: under `torchrun`, "cuda" is the GPU of its local rank."""
        return f"cuda:{_told('LOCAL_RANK', 0)}" if device == "cuda" and self.size > 1 else device

    def share(self, start: int, end: int) -> list[int]:
        """The numbers of this process's examples, of those from `start` on in batches, which all can share evenly (`check_share`)."""
        return [number for number in range(start, end) if number % self.size == self.rank]

    def average(self, network: nn.Module) -> None:
        """Make gradients and running statistics the mean of everyone's, so that all processes keep the same network."""
        if self.size == 1:
            return
        tensors = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        tensors += [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        together = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(together)
        _scatter(together / self.size, tensors)

    def most(self, number: int, device: str) -> int:
        """The largest of everyone's numbers, so that what one is told all heed at the same step."""
        if self.size == 1:
            return number
        largest = torch.tensor([number], device=device)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def check_together(self, step: int, device: str) -> None:
        """CalvariaError BAD_OPTION where not all go on from one step, as where each found a folder of its own."""
        if self.most(step, device) != -self.most(-step, device):
            raise bad_option("The processes found different checkpoints in --out: it must be one folder that all of them see.")


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return "WORLD_SIZE" in os.environ


def leads() -> bool:
    """Whether this process will lead the team (`Team.leads`), before it is assembled."""
    return _told("RANK", 0) == 0


def cores_each() -> int:
    """Cores for each of the team's processes on this machine."""
    return threads_each(_told("LOCAL_WORLD_SIZE", 1), cores())


def check_share(batch: int) -> None:
    """CalvariaError BAD_OPTION where the processes that `torchrun` started cannot share a batch evenly."""
    if batch % (size := _told("WORLD_SIZE", 1)):
        message = f"A batch of {batch} cannot be shared evenly by {size} processes. Change batch in the configuration's [optimizer]."
        raise bad_option(message)


def _told(name: str, alone: int) -> int:
    """What `torchrun` sets in the environment, or what it would be for a process alone."""
    return int(os.environ.get(name, alone))


def _scatter(values: Tensor, tensors: list[Tensor]) -> None:
    for tensor, part in zip(tensors, torch.split(values, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
