"""The tokens that TorchServe writes into key_file.json when it starts."""

import json
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from calvaria.errors import CalvariaError, ErrorCode

KEY_FILE = "key_file.json"

TokenKind = Literal["inference", "management", "API"]
"""What a token is for: predictions, the state of models, or new ones of the first two."""

READ_AGAIN, PAUSE_S = 5, 0.1
"""How often, and after which pause, a file is read again that is no JSON: TorchServe empties it and writes it anew."""


def find_token(key_file: Path | None) -> str | None:
    """The token for inference from a key file, or else from the nearest in this folder and those above it; None without one."""
    if key_file is None:
        here = Path.cwd()
        key_file = next((folder / KEY_FILE for folder in (here, *here.parents) if (folder / KEY_FILE).is_file()), here / KEY_FILE)
    return read_token(key_file)


def read_token(key_file: Path, kind: TokenKind = "inference") -> str | None:
    """The token for one kind of call; None if there is no file, as with a server that asks for none."""
    try:
        return str(_entries(key_file)[kind]["key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalvariaError(
            ErrorCode.UNAUTHORIZED,
            f"{key_file} holds no {kind} token that can be read ({error}): start the server again, or name another file.",
        ) from error


def token_end(key_file: Path) -> datetime | None:
    """When the token for inference expires; None where nothing says so."""
    try:
        return datetime.fromisoformat(_entries(key_file)["inference"]["expiration time"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entries(key_file: Path) -> Any:
    for _ in range(READ_AGAIN):
        with suppress(ValueError):
            return json.loads(key_file.read_text())
        time.sleep(PAUSE_S)
    return json.loads(key_file.read_text())
