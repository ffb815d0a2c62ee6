"""Compiles the kernels of the native sparse engine, once for each instruction set; everything else is in pyproject.toml.

Without a working compiler the installation still succeeds, and Calvaria runs on its reference engine and says why.
"""

import hashlib
import platform
from copy import copy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("calvaria/sparse/csrc")
SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(CSRC.glob("*.h")) + sorted(CSRC.glob("*.cpp")))).hexdigest()[:16]
FLAGS = ["-std=c++17", "-O3", "-g0", "-Wall", "-Wextra", "-fopenmp", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mpopcnt"]  # what calvaria_simd asks the processor for, and nothing else
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]


def levels() -> dict[str, list[str]]:
    """The compiler's flags for each instruction set that a processor of this kind may have."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {"baseline": []}
    return {"baseline": [], "avx2": AVX2, "avx512": AVX512}


def kernels(level: str, flags: list[str]) -> Extension:
    return Extension(
        f"calvaria.sparse.native._{level}",
        sources=sorted(map(str, CSRC.glob("*.cpp"))),
        depends=sorted(map(str, CSRC.glob("*.h"))),
        define_macros=[("CALVARIA_SOURCES", f'"{SOURCES}"')],
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-fopenmp", "-Wl,-Bsymbolic"],
        language="c++",
        optional=True,
    )


class BuildKernels(build_ext):
    """All instruction sets at once, each with its own folder of object files."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True

    def build_extension(self, ext: Extension) -> None:
        alone = copy(self)
        alone.build_temp = str(Path(self.build_temp, ext.name))
        super(BuildKernels, alone).build_extension(ext)


setup(ext_modules=[kernels(level, flags) for level, flags in levels().items()], cmdclass={"build_ext": BuildKernels})
