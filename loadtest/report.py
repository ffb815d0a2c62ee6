"""A recording as tables on a console, as JSON, and as a page."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from calvaria.files import write_file
from loadtest.page import page
from loadtest.record import Recording, report_files
from loadtest.remarks import remarks
from loadtest.statistics import DEFINITION
from loadtest.summary import Summary, summarise
from loadtest.tables import TextTable, tables


def report(path: Path, console: Console, warmup_s: float | None = None) -> Summary:
    """Show the report of a recording, and write it beside it with the suffixes .json and .html. See `summarise` for the rest."""
    as_json, as_page = report_files(path)
    recording = Recording.read(path)
    summary = summarise(recording, warmup_s)
    said, grids = remarks(recording, summary), tables(summary)
    for grid in grids:
        if grid.rows:
            console.print(_rich(grid))
    for remark in said:
        console.print(f"• {remark}", highlight=False, markup=False)
    everything = {"run": asdict(recording.run), "remarks": said, "percentiles": DEFINITION, **asdict(summary)}
    write_file(as_json, (json.dumps(everything, indent=1) + "\n").encode())
    write_file(as_page, page(recording, summary, said, grids).encode())
    console.print(f"Written: {as_json}, {as_page}", highlight=False, markup=False, soft_wrap=True)
    return summary


def _rich(grid: TextTable) -> Table:
    table = Table(title=grid.title, show_header=any(grid.header))
    for number, name in enumerate(grid.header):
        table.add_column(name, justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*row)
    return table
