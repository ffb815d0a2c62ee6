"""One TorchServe: started, known to be ready, stopped with everything it started."""

import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from calvaria.client.tokens import KEY_FILE, token_end
from calvaria.cores import cores, threads_each
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import make_folder, writing
from calvaria.server import termination, typed
from calvaria.server.complaints import Logs
from calvaria.server.java import find_java_home
from calvaria.server.management import Management
from calvaria.server.processes import MARK, STOP_TIMEOUT_S, Processes, check_place, held
from calvaria.server.settings import CONFIG, ServerSettings, why_closed
from calvaria.server.tls import name_of

log = logging.getLogger(__name__)

RUN_FOLDER = ".run"
LOGS = "logs"
NOTE = "temporary-folder"
ERRORS = "stderr.log"
POLL_S = 0.2
KERNELS, KERNELS_HOME = "TRITON_CACHE_DIR", "TRITON_HOME"
"""Variables that tell Triton where to keep the kernels that it compiles for a GPU, and in which folder's `.triton`; else the home's."""


class Server:
    """TorchServe on the `config.properties` of a folder. All it writes lies there: key_file.json, logs/ and .run/.

    As a context manager it is started and ready inside, and stopped afterwards.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.settings = ServerSettings.read(self.folder / CONFIG)
        self.management = Management(self.settings, self.key_file)
        self._process: subprocess.Popen[bytes] | None = None
        self._processes = Processes(self.folder / RUN_FOLDER / NOTE)
        self._logs = Logs(self.folder / LOGS, self.folder / RUN_FOLDER / ERRORS)

    @classmethod
    def apart(cls, folder: Path, config: Path, **changes: str) -> "Server":
        """A second server beside others: a folder of its own, free ports, otherwise the configuration in `config` but for `changes`.

        CalvariaError UNAVAILABLE where one runs in that folder: it goes by the file that would be written anew.
        """
        folder = folder.resolve()
        settings = ServerSettings.read(config).elsewhere()
        _check_idle(folder, Processes(folder / RUN_FOLDER / NOTE))
        folder.mkdir(parents=True, exist_ok=True)
        ServerSettings(folder, settings.values | changes).write(folder / CONFIG)
        return cls(folder)

    @property
    def key_file(self) -> Path:
        return self.folder / KEY_FILE

    def start(self, timeout_s: float = 330.0) -> None:
        """Start and wait until every model has a READY worker; CalvariaError UNAVAILABLE, and nothing left running, if that fails."""
        self._check_startable()
        try:
            self._launch()
            self._wait_until_ready(timeout_s)
        except BaseException:
            if self._processes.ours:
                self.stop()
            raise

    def stop(self) -> bool:
        """End the server and every process it started; whether there was one."""
        is_ours = self._processes.scratch is not None
        ended = self._processes.end()
        if self._process:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None
        if is_ours:  # and not that of a TorchServe started by hand
            self.key_file.unlink(missing_ok=True)
        return ended

    @property
    def running(self) -> bool:
        """Whether a process of it lives; it may not be ready."""
        return bool(self._processes.living())

    @property
    def name(self) -> str | None:
        """What the certificate calls it that it shows now, where its address here is none of that; else None."""
        if not (self.settings.certificate and self.settings.secured):
            return None
        with suppress(OSError):  # one that does not run shows nothing
            return name_of(*self.settings.secured, self.settings.certificate)
        return None

    @property
    def token_left(self) -> timedelta:
        """How long the token for requests is still taken, below zero once it has expired; for ever where the key file does not say."""
        end = token_end(self.key_file)
        return end - datetime.now(UTC) if end else timedelta.max

    @property
    def threads(self) -> int:
        """Threads that each worker computes with, unless OMP_NUM_THREADS says otherwise.

        The workers of one model share the cores; those of others, which may be idle, are left out of account. On two cores four clients
        get half as many heads again completed beside two idle models as with a thread for each, and as many beside a busy one.
        """
        return threads_each(max(self.settings.workers.values(), default=1), cores())

    @property
    def threads_used(self) -> str:
        """What is said of them: OMP_NUM_THREADS, of a server that is started from here, or else `threads`."""
        return os.environ.get("OMP_NUM_THREADS", str(self.threads))

    def serve_until_interrupted(self) -> None:
        """Until this program is interrupted, and stop it; or until `calvaria stop`. CalvariaError UNAVAILABLE if it ends by itself."""
        try:
            if self._process:
                self._process.wait()
                if self._processes.ended_elsewhere():
                    log.warning("The server was stopped from elsewhere.")
                    return
                raise _unavailable(f"The server ended by itself:\n{self._logs.end()}")
        except KeyboardInterrupt:
            log.info("interrupted")
        finally:
            if self._processes.ours:
                self.stop()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _check_startable(self) -> None:
        _check_idle(self.folder, self._processes)
        self.settings.check(CONFIG)
        check_place()
        missing = [name for name in self.settings.models if not (self.settings.model_store / f"{name}.mar").is_file()]
        if missing or not self.settings.models:
            what = f"archive of {', '.join(missing)}" if missing else "archive"
            raise _unavailable(f"There is no {what} in {self.settings.model_store}. Build it with `make archive`, or correct load_models.")
        self.settings.check_archives()
        for port in self.settings.ports:
            if reason := why_closed(port):
                raise _unavailable(f"Port {port} {reason} in {CONFIG}.")

    def _claim(self) -> str:
        """Claim the folder for this server alone, whoever else starts one in it at the same time."""
        with writing(self.folder / RUN_FOLDER):
            (self.folder / RUN_FOLDER).mkdir(exist_ok=True)
            try:
                return self._processes.mark()
            except FileExistsError as error:
                why = f"A server starts in {self.folder} at this moment. `{typed.command('status', self.folder)}` says when it is ready."
                raise _unavailable(why) from error

    def _launch(self) -> None:
        java = find_java_home()  # before the folder is claimed: it may take longer than a claim without a process holds
        run, logs = self.folder / RUN_FOLDER, self.folder / LOGS
        make_folder(logs)
        if not os.access(logs, os.W_OK | os.X_OK):  # TorchServe would go on without logs
            raise bad_option(f"{logs} cannot be written: this account may not. Give it the folder, or remove it.")
        scratch = self._claim()
        with writing(self.folder):
            self.key_file.unlink(missing_ok=True)
            (run / ERRORS).write_bytes(b"")
        environment = self._environment(os.environ) | {
            "JAVA_HOME": str(java),
            MARK: scratch,
            "TEMP": scratch,
            "LOG_LOCATION": str(logs),
            "METRICS_LOCATION": str(logs),
        }
        self._logs.begin()
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs", "--ts-config", CONFIG]
        command += ["--model-store", str(self.settings.model_store)]  # which the launcher would read without knowing Java's escapes
        with (run / ERRORS).open("wb") as errors, held(scratch) as lock:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.DEVNULL,  # it repeats the logs, and would grow for ever
                stderr=errors,
                start_new_session=True,
                pass_fds=(lock,),
                umask=0o077,  # TorchServe closes its key file to others only after it has written it
            )

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The given environment, completed by ours, less what TorchServe prefers to its configuration file.

        Threads that wait do not spin: beside other processes that tripled the time of a network call on two cores.
        """
        ours = {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "passive"}
        if not os.access(given.get(KERNELS_HOME, os.path.expanduser("~")), os.W_OK):  # a system account has no folder of its own
            ours[KERNELS] = str(self.folder / RUN_FOLDER / "kernels")
        return ours | {name: value for name, value in given.items() if name != "TS_CONFIG_FILE"}

    def _wait_until_ready(self, timeout_s: float) -> None:
        start = time.monotonic()
        while not self._complete():
            termination.check()
            if self._process and self._process.poll() is not None:
                raise _unavailable(f"The server ended while starting:\n{self._logs.end()}")
            if complaint := self._logs.worker_complaint():
                raise _unavailable(f"The server's worker could not load its model:\n{complaint}")
            if time.monotonic() - start > timeout_s:
                raise _unavailable(f"The server was not ready after {timeout_s:g} seconds:\n{self._logs.end()}")
            time.sleep(POLL_S)
        termination.check()
        log.info("ready after %.1f s", time.monotonic() - start)
        log.info("workers: %s; of %d cores each has %s", self.settings.workers, cores(), self.threads_used)

    def _complete(self) -> bool:
        """Whether as many workers as there should be are ready."""
        return Counter(worker.model for worker in self.management.workers() if worker.ready) == self.settings.workers


def _check_idle(folder: Path, processes: Processes) -> None:
    if processes.living():
        raise _unavailable(f"A server already runs in {folder}. Stop it with `{typed.command('stop', folder)}`.")


def _unavailable(message: str) -> CalvariaError:
    return CalvariaError(ErrorCode.UNAVAILABLE, message)
