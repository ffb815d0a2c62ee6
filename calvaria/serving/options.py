"""The options a request may carry: one schema for headers, forms, gRPC, the clients, the command line and the documentation."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, TypedDict

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.io import FORMATS
from calvaria.tasks import Extras, Settings, Task

JSON_FIELD = "options"
"""Instead of one field each, all options may come as one JSON object under this name."""

EVERY_TASK = ("output", "report", "format", "label")
"""Options that a request for any task may carry; a task's row names the others that it takes."""

SHOWN = 60
"""A client's text is repeated to it only up to this many characters."""


class AnswerOptions(TypedDict, total=False):
    """What the clients take as keyword arguments; meanings and units as in RequestOptions. None is as good as not given."""

    label: int | None
    threshold: float | None
    smallest_mm3: float | None
    spacing_mm: float | None
    factor: float | None


class Options(AnswerOptions, total=False):
    """`AnswerOptions`, and in what form the answer comes."""

    output: str | Sequence[str] | None
    report: bool | None
    format: str | None


@dataclass(frozen=True)
class RequestOptions:
    """What a client may ask for, next to the volume.

    output        which of the task's outputs, e.g. ("implant",) or several; the task's first by default
    report        whether a report comes with them
    format        file format of the answer, one of `calvaria.io.FORMATS`; None: the input's own
    label         the voxels with this value are the mask (a positive whole number); None: every voxel above zero
    threshold     probability, above 0 and below 1, beyond which a place belongs to the answer (super-resolution: see `Settings`);
                  None: the model's own
    smallest_mm3  smaller components of the answer are dropped; None: the model's own
    spacing_mm    edge of the answer's voxels; None: the task's default
    factor        how many times finer than the input's the answer's voxels are; None: the task's default
    """

    output: tuple[str, ...]
    report: bool = False
    format: str | None = None
    label: int | None = None
    threshold: float | None = None
    smallest_mm3: float | None = None
    spacing_mm: float | None = None
    factor: float | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str], task: Task) -> "RequestOptions":
        """From text by name, as it came over the wire; CalvariaError UNKNOWN_OPTION or BAD_OPTION."""
        texts = {**_json_object(given[JSON_FIELD]), **given} if JSON_FIELD in given else dict(given)
        texts.pop(JSON_FIELD, None)
        for name in texts:
            _check_taken(name, task)
        return cls(**{"output": task.outputs[:1], **{name: PARSERS[name](name, text, task) for name, text in texts.items()}})

    def settings(self, settings: Settings) -> Settings:
        """A model's settings with what this request wants otherwise."""
        wanted = {name: getattr(self, name) for name in ("threshold", "smallest_mm3")}
        return replace(settings, **{name: value for name, value in wanted.items() if value is not None})

    @property
    def extras(self) -> Extras:
        """What a task may make use of beside the mask."""
        return Extras(self.spacing_mm, self.factor)

    def given(self) -> dict[str, Any]:
        """The options by name, without those left to their defaults."""
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}


def options_of(task: Task) -> tuple[str, ...]:
    """Names of the options that a request for a task may carry."""
    return EVERY_TASK + task.options


def encode_options(**options: Any) -> dict[str, str]:
    """Options (see Options) as text by name, as they travel; BAD_OPTION for text that no header could carry."""
    texts = {name: _as_text(value) for name, value in options.items() if value is not None}
    for name, text in texts.items():
        if not text.isprintable():
            raise bad_option(f"{name} cannot be {text!r}.")
    return texts


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return value.strip(" ") if isinstance(value, str) else ",".join(value) if isinstance(value, Sequence) else str(value)


def _json_object(text: str) -> dict[str, str]:
    """The texts in a JSON object; a list is as good as its items with commas between them."""
    try:
        return {name: _from_json(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise bad_option(f'`{JSON_FIELD}` must be a JSON object such as {{"output": "implant"}}.') from error


def _from_json(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _check_taken(name: str, task: Task) -> None:
    if name in options_of(task):
        return
    taken = ", ".join(options_of(task))
    if name in PARSERS:
        raise CalvariaError(ErrorCode.UNKNOWN_OPTION, f"{task.name} takes no option {name}. It takes {taken}.")
    raise CalvariaError(ErrorCode.UNKNOWN_OPTION, f"There is no option {_shown(name)}. The options for {task.name} are {taken}.")


def _outputs(name: str, text: str, task: Task) -> tuple[str, ...]:
    """Outputs, each once, in the order asked for."""
    asked = [each.strip(" ") for each in text.split(",")]
    for each in asked:
        _one_of(name, each, task.outputs)
    return tuple(dict.fromkeys(asked))


def _format(name: str, text: str, task: Task) -> str:
    return _one_of(name, text, FORMATS)


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise _refused(name, text, f"one of {', '.join(allowed)}")
    return text


def _flag(name: str, text: str, task: Task) -> bool:
    if text.lower() not in ("1", "0", "true", "false"):
        raise _refused(name, text, "1 or 0")
    return text.lower() in ("1", "true")


def _label(name: str, text: str, task: Task) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise _refused(name, text, "a whole number above zero")
    return int(text)


def _number(wanted: str, fits: Callable[[float], bool]) -> Callable[[str, str, Task], float]:
    def parse(name: str, text: str, task: Task) -> float:
        try:
            number = float(text) if text.isascii() and "_" not in text else float("nan")
        except ValueError:
            number = float("nan")
        if not (isfinite(number) and fits(number)):
            raise _refused(name, text, wanted)
        return number

    return parse


def _refused(name: str, text: str, wanted: str) -> CalvariaError:
    return bad_option(f"{name} cannot be {_shown(text)}. It is {wanted}.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


PARSERS: dict[str, Callable[[str, str, Task], Any]] = {
    "output": _outputs,
    "report": _flag,
    "format": _format,
    "label": _label,
    "threshold": _number("a probability above 0 and below 1", lambda number: 0 < number < 1),
    "smallest_mm3": _number("a volume of 0 to 1,000,000 mm³", lambda number: 0 <= number <= 1e6),
    "spacing_mm": _number("an edge of 0.05 to 10 mm", lambda number: 0.05 <= number <= 10),
    "factor": _number("a number above 1 and up to 16", lambda number: 1 < number <= 16),
}
"""Parsers by option: (name, text, task) -> a value of RequestOptions, or BAD_OPTION."""
