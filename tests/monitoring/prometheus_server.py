"""A real Prometheus server on a free port, with the project's configuration but for what a test cannot wait for."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import yaml

Samples = dict[tuple[tuple[str, str], ...], float]
"""Values by those labels that were asked for."""

START_S = 60.0


def find(program: str) -> str:
    """`prometheus` or `promtool`, on the path or beside this Python; empty if there is none."""
    return shutil.which(program) or shutil.which(program, path=os.path.dirname(sys.executable)) or ""


MISSING = "Prometheus is not installed: `apt-get install --no-install-recommends prometheus`, or what .ci/run does"


class Prometheus:
    """Scrapes one address every second. Its data lies in `folder`."""

    def __init__(self, program: str, monitoring: Path, address: str, folder: Path):
        config = yaml.safe_load((monitoring / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(monitoring / "rules.yml")]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [address]}]
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("wb")
        self._command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        self._folder = folder

    def __enter__(self) -> "Prometheus":
        self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + START_S
        while not self._ready():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus did not become ready"
            time.sleep(0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def query(self, expression: str, at_s: float | None = None, by: tuple[str, ...] = ()) -> Samples:
        """What an expression gives, at a Unix time or now; the labels `by` must tell its values apart."""
        parameters = {"query": expression} | ({} if at_s is None else {"time": f"{at_s:.3f}"})
        found = self.api("query", parameters)["result"]
        values = {tuple((name, each["metric"][name]) for name in by): float(each["value"][1]) for each in found}
        assert len(values) == len(found), f"{by} do not tell apart what {expression} gives"
        return values

    def value(self, expression: str, at_s: float | None = None) -> float | None:
        """Of an expression that gives one value; None if it gives none."""
        return self.query(expression, at_s).get(())

    def api(self, what: str, parameters: dict[str, str] | None = None) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=30, trust_env=False).json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False
