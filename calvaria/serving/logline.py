"""What is logged: a line of JSON for each request, and of a failure what it was and where. Nothing that a client wrote is in it."""

import json
import traceback
from datetime import UTC, datetime
from pathlib import Path

from calvaria.serving.messages import Request, Response


def request_line(id: str, model: str, batch: int, request: Request, response: Response) -> str:
    """One request as JSON, ASCII; the fields are in docs/operations.md. `batch`: how many requests shared a network call with it."""
    fields = {
        "request": id,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "model": model,
        "code": response.code,
        "status": response.status,
        "batch": batch,
        "bytes_in": request.size,
        "bytes_out": len(response.body),
        "occupied": response.occupied,
        "seconds": {stage: round(seconds, 6) for stage, seconds in response.seconds.items()},
        "warnings": [notice.code for notice in response.warnings],
    }
    return json.dumps(fields | ({"failure": response.failure} if response.failure else {}))


def whereabouts(error: BaseException) -> str:
    """What an error was and where it came from, innermost first, in one line: not its message, which may repeat what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    places = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {' < '.join(places) or 'an unknown place'}"
