"""The house's arrows point one way, and importing the library does no work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "calvaria"

OPEN_TO_ALL = {"errors", "files"}

# Each room may import those named, and its own files always.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "cores": set(),
    "volume": set(),
    "geometry": {"volume"},
    "grid": {"volume", "geometry"},
    "distance": {"volume", "geometry"},
    "labels": {"volume", "geometry"},
    "companion": {"volume", "geometry", "hounsfield", "io"},
    "io": {"volume", "geometry", "labels"},
    "hounsfield": set(),
    "threshold": {"hounsfield", "volume", "io", "tasks"},
    "sparse": set(),
    "networks": {"sparse"},
    "plan": {"networks", "sparse"},
    "memory": {"networks", "sparse"},
    "minkowski": {"networks", "sparse"},
    "dense": {"networks", "sparse"},
    "sampling": {"volume", "geometry"},
    "tasks": {"cores", "volume", "geometry", "distance", "grid", "hounsfield", "sampling", "vault"},
    "weights": {"networks", "tasks"},
    "inference": {"volume", "geometry", "memory", "minkowski", "networks", "plan", "sparse"},
    "predictor": {"volume", "geometry", "labels", "inference", "networks", "tasks", "weights"},
    "serving": {"volume", "geometry", "companion", "io", "tasks", "predictor"},
    "client": {"volume", "io", "predictor", "serving"},
    "server": {"cores", "client", "weights"},
    "synthetic": {"cores", "volume", "geometry", "grid", "sampling", "vault"},
    "segmenter": {"cores", "volume", "geometry", "synthetic", "weights"},
    "training": {
        *(
            "cores",
            "volume",
            "geometry",
            "datasets",
            "dense",
            "inference",
            "predictor",
            "segmenter",
            "synthetic",
            "networks",
            "sparse",
            "tasks",
            "weights",
        ),
    },
    "datasets": {
        "volume",
        "io",
        "companion",
        "geometry",
        "grid",
        "picture",
        "raycast",
        "sparse",
        "synthetic",
        "tasks",
        "threshold",
        "vault",
    },
    "raycast": {"geometry"},
    "picture": {"volume", "geometry", "grid", "raycast"},
    "console": {"volume", "io"},
    "vault": {"volume", "geometry", "sampling"},
    "evaluation": {
        "volume",
        "io",
        "geometry",
        "distance",
        "grid",
        "sampling",
        "vault",
        "datasets",
        "picture",
        "predictor",
        "segmenter",
        "synthetic",
        "tasks",
    },
    "bench": {"cores", "volume", "io", "sparse", "networks", "dense", "plan", "minkowski", "training", "synthetic", "console"},
}
ANYTHING = {"cli", "commands", "demo", "showcase"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(modules: set[str]) -> set[str]:
    names = {module.split(".")[1] for module in modules if module.startswith("calvaria.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    here = room(path)
    if here in ANYTHING:
        return
    assert rooms_of(imports(path)) <= MAY_IMPORT[here] | {here} | OPEN_TO_ALL


def test_no_arrow_is_permitted_that_nobody_uses() -> None:
    used: dict[str, set[str]] = {}
    for path in FILES:
        used.setdefault(room(path), set()).update(rooms_of(imports(path)))
    assert {here: used[here] - {here} - OPEN_TO_ALL for here in MAY_IMPORT} == MAY_IMPORT


def test_only_the_handler_imports_torchserve() -> None:
    users = {path for folder in (PACKAGE, ROOT / "handlers", ROOT / "archive", ROOT / "loadtest") for path in folder.rglob("*.py")}
    users = {path for path in users if any(name == "ts" or name.startswith("ts.") for name in imports(path))}
    assert {path.parent.name for path in users} == {"handlers"}


def test_importing_the_predictor_does_not_pull_in_what_serving_must_not_need() -> None:
    unwanted = ["calvaria.training", "calvaria.evaluation", "calvaria.synthetic", "ts", "matplotlib", "typer"]
    code = f"import sys, calvaria.predictor, calvaria.serving.service; sys.exit(', '.join(m for m in {unwanted} if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


@pytest.mark.parametrize("path", [*FILES, *ROOT.glob("handlers/*.py")], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_served_unpickles(path: Path) -> None:
    """Training reads its own checkpoints, as weights alone; nothing else reads what could run code."""
    tree = ast.parse(path.read_text())
    assert not imports(path) & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
    assert not loads or "training" in path.parts
    assert all("weights_only=True" in ast.unparse(call) for call in loads)
    assert not any(isinstance(node, ast.keyword) and node.arg == "allow_pickle" for node in ast.walk(tree))
