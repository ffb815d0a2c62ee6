"""The Triton kernels against the reference engine: `triton_kernels.py` in a process of its own, under the interpreter and on a GPU."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

KERNELS = Path(__file__).with_name("triton_kernels.py")
ROOT = KERNELS.parents[2]


def run_kernels(**environment: str) -> None:
    # No limit on a test of its own: all together have the limit of the test that starts them.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-o", "timeout=0", "-x", str(KERNELS)]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: pip install --no-deps 'triton>=3.7.1,<4'")
def test_kernels_under_the_interpreter() -> None:
    run_kernels(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: pip install --no-deps 'triton>=3.7.1,<4'")
def test_kernels_compile_for_a_gpu_that_is_not_there() -> None:
    """One of each kernel and type; `python tools/compile_kernels.py` compiles all."""
    command = [sys.executable, str(ROOT / "tools" / "compile_kernels.py"), "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert re.search(r"\b(\d{2}) of \1 kernels compile", ran.stdout), ran.stdout[-500:]


@pytest.mark.gpu
@pytest.mark.timeout(1800)  # several hundred kernels are compiled where none are kept
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_kernels_on_the_gpu() -> None:
    run_kernels()


def test_nothing_of_triton_or_cuda_is_asked_at_import() -> None:
    code = "import sys, torch; before = set(sys.modules); import calvaria.sparse, calvaria.plan"
    code += "; assert not any(name.split('.')[0] == 'triton' for name in set(sys.modules) - before)"
    code += "; assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: pip install --no-deps 'triton>=3.7.1,<4'")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_kernels_cannot_be_started_the_reference_engine_computes_and_why_is_said() -> None:
    code = "import torch; torch.cuda.is_available = lambda: True"
    code += "; from calvaria.sparse.engines import choose; print(choose('auto', 'cuda')); choose('native', 'cuda')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "reference"
    assert "The native engine cannot run on cuda: Triton cannot start kernels" in ran.stderr
