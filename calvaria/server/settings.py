"""What `config.properties` says, for those who start and call a server."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from calvaria.errors import CalvariaError, ErrorCode

CONFIG = "config.properties"
URLS = {"inference_address": 8080, "management_address": 8081, "metrics_address": 8082}
GRPC_PORTS = {"grpc_inference_port": 7070, "grpc_management_port": 7071}
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerSettings:
    """TorchServe's settings by name, and the folder that relative paths are relative to."""

    folder: Path
    values: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "ServerSettings":
        """From a file such as config.properties; CalvariaError BAD_OPTION if there is none."""
        try:
            text = path.read_text()
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}. Run this in a checkout of Calvaria, or name one with --folder."
            raise CalvariaError(ErrorCode.BAD_OPTION, message) from error
        lines = (line.strip() for line in text.splitlines())
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return cls(path.parent.resolve(), {name.strip(): value.strip() for name, value in pairs})

    def write(self, path: Path) -> None:
        path.write_text("".join(f"{name}={value}\n" for name, value in self.values.items()))

    def elsewhere(self, store: Path | None = None) -> "ServerSettings":
        """The same on free ports of this machine and with absolute paths, so that a second server can run from another folder."""
        ports = iter(_free_ports(len(URLS) + len(GRPC_PORTS)))
        values = {**self.values, "model_store": str((store or self.model_store).resolve()), "grpc_inference_address": LOOPBACK}
        if "metrics_config" in values:
            values["metrics_config"] = str(self.folder / values["metrics_config"])
        values |= {name: f"http://{LOOPBACK}:{next(ports)}" for name in URLS}
        values |= {name: str(next(ports)) for name in GRPC_PORTS}
        return ServerSettings(self.folder, values)

    @property
    def model_store(self) -> Path:
        return self.folder / self.values["model_store"]

    @property
    def models(self) -> list[str]:
        """Names of the models to be loaded; each is an archive <name>.mar in the store."""
        listed = self.values.get("load_models", "all")
        if listed != "all":
            return [entry.split("=")[0].removesuffix(".mar") for entry in listed.split(",")]
        return sorted(path.stem for path in self.model_store.glob("*.mar"))

    def url(self, name: str) -> str:
        """`inference`, `management` or `metrics` -> http://host:port"""
        return self.values.get(f"{name}_address", f"http://{LOOPBACK}:{URLS[f'{name}_address']}")

    @property
    def grpc_target(self) -> str:
        """host:port of inference over gRPC."""
        return f"{self.values.get('grpc_inference_address', LOOPBACK)}:{self.values.get('grpc_inference_port', '7070')}"

    @property
    def ports(self) -> list[int]:
        """Every port that the server listens on."""
        urls = [urlsplit(self.values.get(name, f"http://{LOOPBACK}:{default}")).port or default for name, default in URLS.items()]
        return urls + [int(self.values.get(name, default)) for name, default in GRPC_PORTS.items()]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
