"""Which engine computes: chosen by name, said once, never changed silently."""

import logging
from functools import cache
from importlib import import_module
from typing import cast

from calvaria.errors import bad_option
from calvaria.sparse.engine import Engine

log = logging.getLogger(__name__)

NAMES = ("auto", "native", "reference")

# Modules are imported when first chosen: the native engine's by the type of device; the reference runs on any.
_NATIVE = {"cpu": "calvaria.sparse.native", "cuda": "calvaria.sparse.triton_engine"}
_REFERENCE = "calvaria.sparse.reference"


@cache
def choose(name: str, device_type: str) -> str:
    """`native` or `reference` for a name of `NAMES` and a type of device ("cpu", "cuda"); says once what was chosen and why.

    `auto` is `native` where that can run. CalvariaError BAD_OPTION for another name, or where a named engine cannot run.
    """
    if name not in NAMES:
        raise bad_option(f"There is no engine {name!r}. Choose one of: {', '.join(NAMES)}.")
    obstacle = "" if name == "reference" else _obstacle(device_type)
    if obstacle and name == "native":
        raise bad_option(f"The native engine cannot run on {device_type}: {obstacle}")
    chosen = "native" if name != "reference" and not obstacle else "reference"
    if obstacle:
        log.warning("the native engine cannot run on %s: %s", device_type, obstacle)
    log.info("engine on %s: %s, %s", device_type, chosen, engine(chosen, device_type).describe())
    return chosen


@cache
def engine(chosen: str, device_type: str) -> Engine:
    """The engine of a name that `choose` gave."""
    return cast(Engine, import_module(_NATIVE[device_type] if chosen == "native" else _REFERENCE))


def _obstacle(device_type: str) -> str:
    """Why the native engine cannot run on this type of device; empty if it can."""
    if device_type not in _NATIVE:
        return f"it has no kernels for {device_type}"
    try:
        return str(import_module(_NATIVE[device_type]).why_not())
    except ModuleNotFoundError as missing:
        return f"{missing.name} is not installed"
