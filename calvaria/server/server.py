"""One TorchServe: started, known to be ready, stopped with everything it started."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil

from calvaria.client.tokens import KEY_FILE, read_token
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.server.java import find_java_home
from calvaria.server.settings import CONFIG, Settings, is_free

log = logging.getLogger(__name__)

RUN_FOLDER = ".run"
LOGS = "logs"
STATE = "server.json"
STOP_TIMEOUT_S = 15.0
POLL_S = 0.2
WORKER_FAILURES = ("Backend worker error", "Failed to start worker", "Load model failed", "failed to initialize")
SHOWN_LINES = 12


@dataclass(frozen=True)
class Worker:
    """A worker process of a model, as the management API describes it."""

    model: str
    pid: int
    ready: bool
    memory_bytes: int


class Server:
    """TorchServe on the `config.properties` of a folder. All it writes lies there: key_file.json, logs/ and .run/.

    As a context manager it is started and ready inside, and stopped afterwards.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.settings = Settings.read(self.folder / CONFIG)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_starts: dict[Path, int] = {}

    @classmethod
    def apart(cls, folder: Path, config: Path, store: Path | None = None, **changes: str) -> "Server":
        """A second server beside others: a folder of its own, free ports, otherwise the configuration in `config` but for `changes`."""
        settings = Settings.read(config).elsewhere(store)
        folder.mkdir(parents=True, exist_ok=True)
        Settings(folder, settings.values | changes).write(folder / CONFIG)
        return cls(folder)

    @property
    def key_file(self) -> Path:
        return self.folder / KEY_FILE

    def start(self, timeout_s: float = 120.0) -> None:
        """Start and wait until every model has a READY worker; CalvariaError UNAVAILABLE, and nothing left running, if that fails."""
        self._check_startable()
        self._launch()
        try:
            self._wait_until_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
        """End the server and every process it started; whether there was one."""
        state = self._state()
        process = _alive(state)
        if process:
            _end_tree(process)
        if self._process:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None
        if state:
            shutil.rmtree(state["scratch"], ignore_errors=True)
            self._state_file.unlink(missing_ok=True)
            self.key_file.unlink(missing_ok=True)
        return process is not None

    @property
    def running(self) -> bool:
        """Whether its process lives; it may not be ready."""
        return _alive(self._state()) is not None

    def workers(self) -> list[Worker]:
        """Every model's workers; httpx.HTTPError if the management API does not answer."""
        return [worker for model in self.settings.models for worker in self._workers_of(model)]

    def wait(self) -> None:
        """Until the server ends by itself."""
        if self._process:
            self._process.wait()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _check_startable(self) -> None:
        if self.running:
            raise _unavailable(f"A server already runs in {self.folder}. Stop it with `calvaria stop`.")
        missing = [name for name in self.settings.models if not (self.settings.model_store / f"{name}.mar").is_file()]
        if missing or not self.settings.models:
            what = f"archive of {', '.join(missing)}" if missing else "archive"
            raise _unavailable(f"There is no {what} in {self.settings.model_store}. Build it with `python archive/build.py`.")
        for port in self.settings.ports:
            if not is_free(port):
                raise _unavailable(f"Port {port} is taken by another program. End that, or choose another port in {CONFIG}.")

    def _launch(self) -> None:
        run, logs = self.folder / RUN_FOLDER, self.folder / LOGS
        run.mkdir(exist_ok=True)
        logs.mkdir(exist_ok=True)
        # TorchServe's sockets lie in its temporary folder, and their paths may not be longer than 108 characters.
        scratch = tempfile.mkdtemp(prefix="calvaria-")
        environment = _without_overrides(os.environ) | {
            "JAVA_HOME": str(find_java_home()),
            "TEMP": scratch,
            "TMPDIR": scratch,
            "LOG_LOCATION": str(logs),
            "METRICS_LOCATION": str(logs),
        }
        self.key_file.unlink(missing_ok=True)
        self._log_starts = {path: path.stat().st_size for path in logs.glob("*.log")}
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs", "--ts-config", CONFIG]
        with (run / "stderr.log").open("wb") as errors:
            # Its standard output repeats the logs, and would grow for ever.
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
        created = psutil.Process(self._process.pid).create_time()
        self._state_file.write_text(json.dumps({"pid": self._process.pid, "created": created, "scratch": scratch}))

    def _wait_until_ready(self, timeout_s: float) -> None:
        start = time.monotonic()
        while not self._ready():
            if self._process and self._process.poll() is not None:
                raise _unavailable("The server ended while starting." + self._end_of_logs())
            if self._worker_failed():
                raise _unavailable("The server's worker failed to load its model." + self._end_of_logs())
            if time.monotonic() - start > timeout_s:
                raise _unavailable(f"The server was not ready after {timeout_s:g} seconds." + self._end_of_logs())
            time.sleep(POLL_S)
        log.info("ready after %.1f s", time.monotonic() - start)

    def _ready(self) -> bool:
        try:
            described = {model: self._workers_of(model) for model in self.settings.models}
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return all(workers and all(worker.ready for worker in workers) for workers in described.values())

    def _workers_of(self, model: str) -> list[Worker]:
        token = read_token(self.key_file, "management")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.get(f"{self.settings.url('management')}/models/{model}", headers=headers, timeout=10, trust_env=False)
        answer.raise_for_status()
        described = answer.json()[0]["workers"]
        return [Worker(model, int(each["pid"]), each["status"] == "READY", int(each["memoryUsage"])) for each in described]

    def _worker_failed(self) -> bool:
        return any(sign in line for line in self._lines(self.folder / LOGS / "ts_log.log") for sign in WORKER_FAILURES)

    def _end_of_logs(self) -> str:
        files = [self.folder / RUN_FOLDER / "stderr.log", self.folder / LOGS / "ts_log.log", self.folder / LOGS / "model_log.log"]
        ends = [f"\nEnd of {path}:\n" + "\n".join(lines[-SHOWN_LINES:]) for path in files if (lines := self._lines(path))]
        return "".join(ends)

    def _lines(self, path: Path) -> list[str]:
        """What was written to a log since this server was started."""
        if not path.is_file():
            return []
        with path.open("rb") as file:
            file.seek(self._log_starts.get(path, 0))
            return file.read().decode(errors="replace").splitlines()

    @property
    def _state_file(self) -> Path:
        return self.folder / RUN_FOLDER / STATE

    def _state(self) -> Mapping[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state


def _alive(state: Mapping[str, Any]) -> psutil.Process | None:
    """The process that was started, unless it has ended or its number belongs to another by now."""
    try:
        process = psutil.Process(state["pid"])
        lives = process.create_time() == state["created"] and process.status() != psutil.STATUS_ZOMBIE
    except (KeyError, psutil.Error):
        return None
    return process if lives else None


def _end_tree(root: psutil.Process) -> None:
    """Ask the server to end, so that it ends its workers, and kill what is left after a while."""
    tree = [*root.children(recursive=True), root]
    for process in tree:
        if "java" in _name(process):
            process.terminate()
    _, left = psutil.wait_procs(tree, STOP_TIMEOUT_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, STOP_TIMEOUT_S)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _without_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """TorchServe prefers these variables to its configuration file."""
    return {name: value for name, value in environment.items() if name != "TS_CONFIG_FILE"}


def _unavailable(message: str) -> CalvariaError:
    return CalvariaError(ErrorCode.UNAVAILABLE, message)
