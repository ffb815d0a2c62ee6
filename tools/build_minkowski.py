"""Build MinkowskiEngine from its released source and install it where this Python finds Calvaria: `make minkowski`.

The last release (0.5.4, 2021, MIT) is source only and predates today's Python, CUDA and setuptools; `minkowski_edits.py` bridges
that. The wheel is kept in ~/.cache/calvaria (or $CALVARIA_CACHE), so that a machine builds it once for each PyTorch, Python and GPU.
OpenBLAS is the one in PyPI's scipy-openblas32, headers and library: no root, no package of the system's, the same everywhere.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import urllib.request
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from minkowski_edits import Edit, edits
from torch.utils.cpp_extension import CUDA_HOME

RELEASE = "0.5.4"
RELEASE_SHA256 = "b1879c00d0b0b1d30ba622cce239886a7e3c78ee9da1064cdfe2f64c2ab15f94"
OPENBLAS = "scipy-openblas32==0.3.34.481.3"
# The symbols of that OpenBLAS carry a prefix, so that they never meet another BLAS in the process; these are all that is called.
OPENBLAS_NAMES = [f"-Dcblas_{name}=scipy_cblas_{name}" for name in ("sgemm", "dgemm", "saxpy", "daxpy")]
GIGABYTES_PER_COMPILER = 3


@dataclass(frozen=True)
class Target:
    """What a wheel is built for: `cpu`, or a CUDA version and the compute capability of this machine's GPU."""

    cuda: str | None
    capability: str | None

    @classmethod
    def of_this_machine(cls) -> "Target":
        if torch.version.cuda and torch.cuda.is_available() and CUDA_HOME:
            return cls(torch.version.cuda, ".".join(map(str, torch.cuda.get_device_capability())))
        return cls(None, None)

    def __str__(self) -> str:
        return f"CUDA {self.cuda}, compute capability {self.capability}" if self.cuda else "CPU"

    @property
    def edits(self) -> list[Edit]:
        return edits(int(self.cuda.split(".")[0]) if self.cuda else None)

    @property
    def key(self) -> str:
        """A name for the wheel's folder that changes with everything the wheel depends on."""
        parts = [torch.__version__, platform.python_version(), platform.machine(), str(self), OPENBLAS, repr(self.edits)]
        return f"{RELEASE}-{'cuda' if self.cuda else 'cpu'}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def main() -> None:
    ArgumentParser(description=__doc__).parse_args()
    target = Target.of_this_machine()
    folder = Path(os.environ.get("CALVARIA_CACHE", Path.home() / ".cache" / "calvaria")) / "minkowski" / target.key
    folder.mkdir(parents=True, exist_ok=True)
    pip("install", "--quiet", "--no-deps", OPENBLAS)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits, and finds the wheel
        wheel = next(folder.glob("*.whl"), None)
        if wheel:
            print(f"MinkowskiEngine {RELEASE} for {target} was built before: {wheel}")
        else:
            wheel = build(target, folder)
    pip("install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))
    subprocess.run([sys.executable, "-W", "ignore", "-c", "import MinkowskiEngine"], check=True)
    print(f"MinkowskiEngine {RELEASE} is installed in {sys.prefix}.")


def build(target: Target, folder: Path) -> Path:
    """The wheel, made in a temporary folder and moved to `folder` when it is whole."""
    openblas = Path(sysconfig.get_path("purelib")) / "scipy_openblas32"
    print(f"Building MinkowskiEngine {RELEASE} for {target} with OpenBLAS from {openblas}: about 9 minutes on two cores.", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        environment = contained(work, openblas, target)
        source = release(work, environment)
        for edit in target.edits:
            edit.apply(source)
        compile_wheel(source, target, openblas, environment, folder / "build.log")
        (wheel,) = (source / "dist").glob("*.whl")
        return wheel.replace(folder / wheel.name)


def contained(work: Path, openblas: Path, target: Target) -> dict[str, str]:
    """The environment of setup.py, which would otherwise run `pip uninstall` with whatever pip it finds, and find another OpenBLAS."""
    tools, libraries = work / "tools", work / "libraries"
    tools.mkdir()
    libraries.mkdir()
    (tools / "pip").write_text("#!/bin/sh\nexit 0\n")
    (tools / "pip").chmod(0o755)
    (libraries / "libopenblas.so").symlink_to(openblas / "lib" / "libscipy_openblas.so")
    flags = list(OPENBLAS_NAMES)
    if target.cuda:
        flags.append(f"-I{CUDA_HOME}/include/cccl")  # where CUDA 13 keeps thrust
    environment = {
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "CFLAGS": " ".join(flags),
        "LDFLAGS": f"-L{libraries} -Wl,-rpath,$ORIGIN/../scipy_openblas32/lib",  # both are installed side by side
        "MAX_JOBS": str(jobs()),
    }
    if target.capability:
        environment["TORCH_CUDA_ARCH_LIST"] = target.capability
    return os.environ | environment


def jobs() -> int:
    """Compilers at once: one per core, as far as memory goes."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(gigabytes / GIGABYTES_PER_COMPILER)))


def release(work: Path, environment: dict[str, str]) -> Path:
    """The released source, unpacked. pip finds it on its index; `pip download` itself would fail in the release's setup.py."""
    report = work / "report.json"
    question = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--no-build-isolation", "--use-pep517"]
    question += ["--no-binary", "MinkowskiEngine", "--config-settings=--global-option=--blas=openblas", "--report", str(report)]
    pip(*question, f"MinkowskiEngine=={RELEASE}", environment=environment)
    url = json.loads(report.read_text())["install"][0]["download_info"]["url"]
    with urllib.request.urlopen(url) as response:
        archive = response.read()
    if hashlib.sha256(archive).hexdigest() != RELEASE_SHA256:
        sys.exit(f"{url} is not the released MinkowskiEngine {RELEASE}: its SHA-256 is another.")
    with tarfile.open(fileobj=BytesIO(archive)) as file:
        file.extractall(work, filter="data")
    return work / f"MinkowskiEngine-{RELEASE}"


def compile_wheel(source: Path, target: Target, openblas: Path, environment: dict[str, str], log: Path) -> None:
    """Run setup.py, saying how far it is."""
    if not shutil.which(environment.get("CXX", "g++")):
        sys.exit("A C++ compiler is needed; on Debian and Ubuntu: apt install g++")
    if not shutil.which("ninja", path=environment["PATH"]):
        pip("install", "--quiet", "ninja")  # without it, setuptools compiles on one core
    device = "--force_cuda" if target.cuda else "--cpu_only"
    command = [sys.executable, "setup.py", "bdist_wheel", device, "--blas=openblas", f"--blas_include_dirs={openblas / 'include'}"]
    with log.open("w") as record:
        process = subprocess.Popen(command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout or ():
            record.write(line)
            if progress := re.match(r"\[(\d+)/(\d+)\]", line):
                print(f"  {progress[1]} of {progress[2]} files compiled", flush=True)
    if process.wait():
        sys.exit("\n".join([*log.read_text().splitlines()[-30:], f"MinkowskiEngine could not be built; all the compiler said is in {log}"]))


def pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    command: Sequence[str] = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, env=environment).returncode:
        sys.exit(f"This did not work: {' '.join(command)}")


if __name__ == "__main__":
    main()
