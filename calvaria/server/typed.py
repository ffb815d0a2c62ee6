"""Words to be typed, such as they are where the user is."""

import os
from pathlib import Path
from shlex import quote


def command(word: str, folder: Path) -> str:
    """A command of `calvaria` for the server in a folder."""
    return f"calvaria {word}" + ("" if folder == Path.cwd() else f" --folder {quoted(folder)}")


def quoted(path: Path) -> str:
    return quote(shown(path))


def shown(path: Path) -> str:
    """A path, relative to where the user is if it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
