"""Codes of whatever is raised."""

import pytest
import torch

from calvaria.errors import CalvariaError, ErrorCode, error_code


def test_a_refusal_has_its_own_code() -> None:
    assert error_code(CalvariaError(ErrorCode.TRUNCATED, "")) is ErrorCode.TRUNCATED


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("CUDA error: out of memory")]
)
def test_too_little_memory_is_told_from_other_errors(error: Exception) -> None:
    assert error_code(error) is ErrorCode.OUT_OF_MEMORY
    assert error_code(ZeroDivisionError()) is ErrorCode.INTERNAL


def test_so_is_that_of_pytorchs_allocator() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**48)
    assert error_code(raised.value) is ErrorCode.OUT_OF_MEMORY
