"""What is typed as one word and means several things."""

from calvaria.errors import CalvariaError, ErrorCode


def names(word: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(name.strip() for name in word.split(",") if name.strip())


def numbers(word: str, option: str) -> tuple[int, ...]:
    """Whole numbers from 1 up between commas, in order, each once; BAD_OPTION for anything else."""
    found = names(word)
    if not found or not all(name.isascii() and name.isdigit() and 0 < int(name) < 10_000 for name in found):
        raise CalvariaError(ErrorCode.BAD_OPTION, f"{option} takes whole numbers with commas, such as 64,128, not {word!r}.")
    return tuple(sorted({int(name) for name in found}))
