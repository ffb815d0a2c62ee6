"""Building the native engine: with a compiler that fails, and files that do not belong together."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from calvaria.sparse import native
from calvaria.sparse.native.library import HERE

ROOT = Path(__file__).resolve().parent.parent
ASK = """
from calvaria.sparse import engines, native
print(native.why_not())
print(engines.choose("auto", "cpu"))
engines.choose("native", "cpu")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project without anything compiled."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, tmp_path)
    copytree(ROOT / "calvaria", tmp_path / "calvaria", ignore=ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def run(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(clone), **environment}
    return subprocess.run([sys.executable, *arguments], cwd=clone, capture_output=True, text=True, env=settings, timeout=120)


def refusal(clone: Path) -> str:
    """Why the native engine is not to be had: `auto` goes on with the reference engine, and by name it is refused."""
    asked = run(clone, "-c", ASK)
    why, chosen = asked.stdout.strip().splitlines()
    assert chosen == "reference"
    assert asked.returncode == 1
    assert why in asked.stderr
    return why


@pytest.mark.parametrize("compiler", ["/bin/false", "/no/such/compiler"])
def test_without_a_working_compiler_the_installation_goes_on_and_the_engine_says_why(clone: Path, compiler: str) -> None:
    built = run(clone, "setup.py", "build_ext", "--inplace", CC=compiler, CXX=compiler)
    assert built.returncode == 0, built.stderr
    assert "failed" in built.stderr
    assert not list(clone.rglob("*.so"))
    assert "install a C++ compiler" in refusal(clone)


@pytest.fixture
def compiled(clone: Path) -> Path:
    if not native.levels():
        pytest.skip(native.why_not())
    for library in HERE.glob("*.so"):
        copy(library, clone / HERE.relative_to(ROOT))
    return clone


@pytest.mark.parametrize("name", ["interface.h", "sites.cpp"])
def test_a_library_of_other_sources_is_not_called(name: str, compiled: Path) -> None:
    source = compiled / "calvaria" / "sparse" / "csrc" / name
    source.write_text(source.read_text().replace("int64_t", "int32_t", 1))
    assert "other sources" in refusal(compiled)


def test_a_library_that_does_not_load_is_refused(compiled: Path) -> None:
    for library in compiled.rglob("*.so"):
        library.write_text("for another machine")
    assert "does not load" in refusal(compiled)


def test_a_wheel_holds_the_library_for_every_instruction_set(compiled: Path) -> None:
    place = compiled / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / HERE.relative_to(ROOT)
    place.mkdir(parents=True)
    for library in HERE.glob("*.so"):
        copy(library, place)  # compiled a moment ago, as far as the build can tell: it need not do it again
    built = run(compiled, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "wheels", ".")
    assert built.returncode == 0, built.stderr
    unpacked = compiled / "unpacked"
    run(compiled, "-m", "zipfile", "-e", str(next((compiled / "wheels").glob("*.whl"))), str(unpacked))
    asked = run(unpacked, "-c", "from calvaria.sparse import native; print(native.__file__, *native.levels())", PYTHONPATH=str(unpacked))
    assert asked.stdout.split() == [str(unpacked / HERE.relative_to(ROOT) / "__init__.py"), *native.levels()]
