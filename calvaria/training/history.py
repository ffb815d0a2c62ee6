"""How a run went, kept beside its weights: `history.csv`, a row at each validation and checkpoint."""

import re
from pathlib import Path

from calvaria.files import write_file, writing

HISTORY = "history.csv"
COLUMNS = "step,loss,quality\n"


def cut_back(path: Path, step: int) -> None:
    """Begin a history, or keep only the rows up to `step`, from which its run goes on, and none that was not written to its end."""
    rows = re.findall(r"^\d+,.*\n", path.read_text(), re.MULTILINE) if path.exists() else []
    write_file(path, "".join([COLUMNS, *(row for row in rows if int(row.split(",")[0]) <= step)]).encode())


def append(path: Path, step: int, loss: float, quality: float | None) -> None:
    """`loss` is the running mean; `quality` is as the task's lesson measures it at this very step, None where it did not."""
    with writing(path), path.open("a") as file:
        file.write(f"{step},{loss:.6g},{'' if quality is None else f'{quality:.6g}'}\n")
