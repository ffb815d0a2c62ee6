"""What is typed as one word and means several things."""

from math import isfinite

from calvaria.errors import bad_option

WIDEST_MM = 10.0
"""Widest voxels that still show a head."""


def names(word: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(name.strip() for name in word.split(",") if name.strip())


def millimetres(word: str, option: str, least: float) -> float | tuple[float, float, float]:
    """One length, or three with commas along x, y and z; BAD_OPTION for anything else, below `least`, or above WIDEST_MM."""
    try:
        found = tuple(float(name) for name in word.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 3) or not all(isfinite(each) for each in found):
        raise bad_option(f"{option} takes millimetres: one number, or three with commas, such as 0.5,0.5,1.2, not {word!r}.")
    if min(found) < least:
        raise bad_option(f"The {option[2:]} must be at least {least} mm: a finer head would not fit in memory.")
    if max(found) > WIDEST_MM:
        raise bad_option(f"The {option[2:]} must be at most {WIDEST_MM:g} mm: less would be left of a head.")
    return found[0] if len(found) == 1 else (found[0], found[1], found[2])


def numbers(word: str, option: str) -> tuple[int, ...]:
    """Whole numbers from 1 up between commas, in order, each once; BAD_OPTION for anything else."""
    found = names(word)
    if not found or not all(name.isascii() and name.isdigit() and 0 < int(name) < 10_000 for name in found):
        raise bad_option(f"{option} takes whole numbers up to 9999 with commas, such as 64,128, not {word!r}.")
    return tuple(sorted({int(name) for name in found}))
