import subprocess
import sys

import numpy as np
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="what only Linux does")
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    large = np.ones(1 << 29, dtype=np.uint8)
    code = "from calvaria.bench.machine import peak_bytes; print(peak_bytes())"
    peak = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 2**20 < peak < large.nbytes
