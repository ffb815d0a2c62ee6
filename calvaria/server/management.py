"""TorchServe's management API, as far as it is asked: a model's workers, and tokens."""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from calvaria.client.tokens import TokenKind, read_token
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.server import typed
from calvaria.server.settings import CONFIG, ServerSettings
from calvaria.server.tls import trusting


@dataclass(frozen=True)
class Worker:
    """A worker process of a model, as the management API describes it."""

    model: str
    pid: int
    ready: bool


class Management:
    """The management API of a server with these settings. What it takes to call it lies in the key file, beside config.properties."""

    def __init__(self, settings: ServerSettings, key_file: Path):
        self.settings = settings
        self.key_file = key_file

    def workers(self) -> list[Worker]:
        """Every model's workers; none while the management API does not answer yet."""
        try:
            return [worker for model in self.settings.models for worker in self._workers_of(model)]
        except (httpx.HTTPError, OSError, KeyError, ValueError, CalvariaError):  # a key file that is half written, or no certificate
            return []

    def renew(self, kind: TokenKind) -> None:
        """Have another token for a kind of call, `inference` or `management`, in the key file; the one before is refused from then on.

        CalvariaError UNAVAILABLE if the server does not answer, UNAUTHORIZED if it refuses, BAD_OPTION where it asks for no tokens.
        """
        if not self.settings.tokens:
            raise bad_option(f"Tokens are switched off (disable_token_authorization in {self._folder / CONFIG}): there are none to renew.")
        try:
            with self._key_held():
                self._replace(kind)
        except httpx.HTTPStatusError as error:
            message = f"The server gives no new token for {self.key_file} (status {error.response.status_code}): start it again."
            raise CalvariaError(ErrorCode.UNAUTHORIZED, message) from error
        except (httpx.HTTPError, OSError) as error:
            message = f"No server in {self._folder} gives a new token ({error}). Start it with `{typed.command('serve', self._folder)}`."
            raise CalvariaError(ErrorCode.UNAVAILABLE, message) from error

    @property
    def locked_out(self) -> bool:
        """Whether the management API refuses what the key file holds."""
        try:
            return _refused(self._managed(f"/models/{self.settings.models[0]}"))
        except (httpx.HTTPError, OSError, IndexError, CalvariaError):
            return False

    def unable(self, workers: Iterable[Worker]) -> list[str]:
        """The models of which none of these workers can answer."""
        return sorted(set(self.settings.models) - {worker.model for worker in workers if worker.ready})

    @property
    def _folder(self) -> Path:
        return self.key_file.parent

    def _workers_of(self, model: str) -> list[Worker]:
        answer = self._managed(f"/models/{model}")
        if _refused(answer):  # its token has ended
            with self._key_held():
                answer = self._managed(f"/models/{model}")
                if _refused(answer):  # and no other process has renewed it meanwhile
                    self._replace("management")
                    answer = self._managed(f"/models/{model}")
        described = answer.raise_for_status().json()[0]["workers"]
        return [Worker(model, int(each["pid"]), each["status"] == "READY") for each in described]

    @contextmanager
    def _key_held(self) -> Iterator[None]:
        """The key file for this process alone: TorchServe writes it anew, whole, for each new token."""
        with self.key_file.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            yield

    def _replace(self, kind: TokenKind) -> None:
        self._managed("/token", "API", type=kind).raise_for_status()

    def _managed(self, path: str, kind: TokenKind = "management", **asked: str) -> httpx.Response:
        """What the management API answers, whatever it is."""
        token = read_token(self.key_file, kind)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url, certificate = self.settings.url("management"), self.settings.certificate
        verify = trusting(certificate) if certificate else url.startswith("https:")
        return httpx.get(url + path, params=asked, headers=headers, timeout=10, trust_env=False, verify=verify)


def _refused(answer: httpx.Response) -> bool:
    return "Token Authorization failed" in answer.text
