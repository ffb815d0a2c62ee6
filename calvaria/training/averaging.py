"""Weights between two: of a run and of one that went on from it, so that what the second learned is not paid for with what the first knew.

After Wortsman et al.: Robust fine-tuning of zero-shot models, 2022, arXiv:2109.01903."""

from pathlib import Path

from calvaria.errors import bad_option
from calvaria.files import check_folder
from calvaria.weights import load_weights, save_weights


def average(before: Path, after: Path, share: float, path: Path) -> None:
    """Write weights to `path`: one minus the share of those of one file, and the share of another's.

    CalvariaError BAD_OPTION where they are not of one network, with the same settings, the share is not from 0 to 1, or there is no
    folder to write into.
    """
    check_folder(path)
    (network, task, settings), (other, *others) = load_weights(before), load_weights(after)
    if network.config != other.config or [task, settings] != others:
        raise bad_option(f"{before} and {after} hold different networks, or networks for different work.")
    if not 0 <= share <= 1:
        raise bad_option(f"A share is from 0 to 1, not {share}.")
    state = other.state_dict()
    for name, values in network.state_dict().items():
        if values.is_floating_point():  # all but counts of batches
            state[name] = values * (1 - share) + state[name] * share
    other.load_state_dict(state)
    save_weights(path, other, task, settings)
