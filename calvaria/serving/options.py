"""The options a request may carry: one schema for every transport, the clients and the documentation."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import FORMATS

JSON_FIELD = "options"
"""Instead of one field each, all options may come as one JSON object under this name."""

SHOWN = 60
"""A client's text is repeated to it only up to this many characters."""


@dataclass(frozen=True)
class RequestOptions:
    """What a client may ask for, next to the volume.

    output  which of the task's outputs, e.g. `completed` or `implant`; the task's first by default
    format  file format of the answer, one of `calvaria.io.FORMATS`; the input's own by default
    label   the voxels with this value are the mask (a positive whole number); by default every voxel above zero
    """

    output: str
    format: str | None = None
    label: int | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str], outputs: Sequence[str]) -> "RequestOptions":
        """From text by name, as it came over the wire; CalvariaError UNKNOWN_OPTION or BAD_OPTION."""
        texts = {**_json_object(given[JSON_FIELD]), **given} if JSON_FIELD in given else dict(given)
        texts.pop(JSON_FIELD, None)
        parsers: dict[str, Callable[[str], Any]] = {
            "output": lambda text: _one_of("output", text, outputs),
            "format": lambda text: _one_of("format", text, FORMATS),
            "label": _positive,
        }
        for name in texts:
            if name not in parsers:
                message = f"There is no option {_shown(name)}. The options are {', '.join(option_names())}."
                raise CalvariaError(ErrorCode.UNKNOWN_OPTION, message)
        return cls(**{"output": outputs[0], **{name: parsers[name](text) for name, text in texts.items()}})


def option_names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(RequestOptions))


def _json_object(text: str) -> dict[str, str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise CalvariaError(ErrorCode.BAD_OPTION, f'`{JSON_FIELD}` must be a JSON object such as {{"output": "implant"}}.')
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise CalvariaError(ErrorCode.BAD_OPTION, f"{name} cannot be {_shown(text)}. It is one of {', '.join(allowed)}.")
    return text


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise CalvariaError(ErrorCode.BAD_OPTION, f"label cannot be {_shown(text)}. It is a whole number above zero.")
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
