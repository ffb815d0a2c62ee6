import io

from rich.console import Console

from calvaria.console import Report


def test_off_a_terminal_a_stage_is_announced_before_it_is_done() -> None:
    screen = io.StringIO()
    with Report(Console(file=screen)).stage("Sawing"):
        assert screen.getvalue() == "Sawing …\n"
    assert screen.getvalue().splitlines()[1] == "Sawing: 0.0 s"
