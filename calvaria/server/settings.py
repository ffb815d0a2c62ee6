"""What `config.properties` says, for those who start and call a server."""

import json
import os
import re
import socket
import struct
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile

from calvaria.cores import cores
from calvaria.errors import bad_option
from calvaria.files import reading

CONFIG = "config.properties"
URLS = {"inference_address": 8080, "management_address": 8081, "metrics_address": 8082}
UNNAMED = {"inference_address": (80, 443), "management_address": (8081, 8444), "metrics_address": (8082, 8445)}
"""The ports, of http and of https, that TorchServe listens on where an address names none."""
GRPC_PORTS = {"grpc_inference_port": 7070, "grpc_management_port": 7071}
FILES = "metrics_config", "certificate_file", "private_key_file"
LOG_CONFIG = re.compile(r"(-Dlog4j.configurationFile=)(?!\w+:)(\S+)")
"""Where the virtual machine is told what to log, unless it is an address."""

LOOPBACK = "127.0.0.1"
ADDRESS = re.compile(r"https?://[^/:\s]+(:(?P<port>\d+))?", re.IGNORECASE)
"""What TorchServe binds to, but for Unix sockets."""
MOST_PORTS = 65535
HTTPS_PORT = 443
NUMBERS = "default_workers_per_model", "max_request_size", "max_response_size"
SWITCHES = "disable_token_authorization", "enable_grpc_ssl", "enable_model_api", "decode_input_request", "disable_system_metrics"
METRICS_MODES = "prometheus", "log", "legacy"
MODEL_CONFIG = "model-config.yaml"
MANIFEST = "MAR-INF/MANIFEST.json"


@dataclass(frozen=True)
class ServerSettings:
    """TorchServe's settings by name, and the folder that relative paths are relative to."""

    folder: Path
    values: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "ServerSettings":
        """From a file such as config.properties, in which Java takes other letters than ASCII's for those of ISO-8859-1.

        CalvariaError BAD_OPTION if there is none, or where a setting has such letters that are not written as \\uXXXX.
        """
        with reading(path, "Run this in a checkout of Calvaria, or name one with --folder."):
            text = path.read_text(encoding="utf-8", errors="replace")
        lines = (line.strip() for line in text.splitlines())
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        values = {name.strip(): value.strip() for name, value in pairs}
        for name, value in values.items():
            if not value.isascii():
                raise bad_option(f"{name} in {path} has letters that TorchServe takes for others: write {_escaped(value)}.")
        return cls(path.parent.resolve(), {name: _unescaped(value) for name, value in values.items()})

    def check(self, name: str) -> None:
        """CalvariaError BAD_OPTION for what TorchServe would only stumble over, hard to understand, once it runs."""
        for key, value in self.values.items():
            if key in URLS and not _is_address(value):
                wanted = f"an address such as http://{LOOPBACK}:{URLS[key]}"
            elif key in GRPC_PORTS and not _is_port(value):
                wanted = f"a port from 1 to {MOST_PORTS}"
            elif key in FILES and not _is_readable(self.folder / value):
                wanted = "a file that exists, and that this account may read"
            elif key in NUMBERS and not (value.isascii() and value.isdigit() and int(value) > 0):
                wanted = "a whole number above zero, and nothing behind it"
            elif key in SWITCHES and value.lower() not in ("true", "false"):
                wanted = "true or false, and nothing behind it"
            elif key == "token_expiration_min" and not re.fullmatch(r"\d*\.?\d+", value):
                wanted = "a number of minutes, and nothing behind it"
            elif key == "metrics_mode" and value.lower() not in METRICS_MODES:
                wanted = f"one of {', '.join(METRICS_MODES)}"
            elif key == "vmargs" and (told := LOG_CONFIG.search(value)) and not _is_readable(self.folder / told[2]):
                wanted = f"without {told[2]}, or with that file in {self.folder}: TorchServe would log otherwise"
            else:
                continue
            raise bad_option(f"{key} in {name} is {value!r}. It must be {wanted}.")
        *http, inference, management = self.ports  # TorchServe's HTTP services may share one
        if inference == management or {inference, management} & set(http):
            raise bad_option(f"{name} gives gRPC a port of another service, of {', '.join(map(str, self.ports))}. Each needs its own.")

    def check_archives(self) -> None:
        """CalvariaError BAD_OPTION where two archives hold one model, or one holds another model than its file is called after."""
        held: dict[str, Path] = {}
        for archive in (self.model_store / f"{name}.mar" for name in self.models):
            model = _model_in(archive)
            if model in held:
                raise bad_option(f"{held[model]} and {archive} both hold the model {model}: move one of them elsewhere.")
            held[model] = archive
        for model, archive in held.items():
            if archive.stem != model:
                raise bad_option(f"{archive} holds the model {model}: call it {model}.mar, or move it elsewhere.")

    def write(self, path: Path) -> None:
        path.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in self.values.items()))

    def elsewhere(self) -> "ServerSettings":
        """These settings on free ports of this machine and with absolute paths, so that a second server can run from another folder."""
        ports = iter(_free_ports(len(URLS) + len(GRPC_PORTS)))
        values = {**self.values, "model_store": str(self.model_store.resolve()), "grpc_inference_address": LOOPBACK}
        values |= {name: str(self.folder / values[name]) for name in FILES if name in values}
        if "vmargs" in values:
            values["vmargs"] = LOG_CONFIG.sub(lambda found: found[1] + (self.folder / found[2]).as_uri(), values["vmargs"])
        values |= {name: f"{urlsplit(self._address(name)).scheme}://{LOOPBACK}:{next(ports)}" for name in URLS}
        values |= {name: str(next(ports)) for name in GRPC_PORTS}
        return ServerSettings(self.folder, values)

    @property
    def model_store(self) -> Path:
        """The folder of the archives; CalvariaError BAD_OPTION where none is named."""
        if "model_store" not in self.values:
            message = f"The settings in {self.folder} name no model_store: add the folder of the archives, such as archive/model_store."
            raise bad_option(message)
        return self.folder / self.values["model_store"]

    @property
    def models(self) -> list[str]:
        """Names of the models to be loaded; each is an archive <name>.mar in the store."""
        listed = self.values.get("load_models", "all")
        if listed != "all":
            return [entry.split("=")[0].removesuffix(".mar") for entry in listed.split(",") if entry.strip()]
        return sorted(path.stem for path in self.model_store.glob("*.mar"))

    def url(self, name: str) -> str:
        """`inference`, `management` or `metrics` -> http://host:port, to call it on this machine"""
        scheme, address = self._address(f"{name}_address").split("//", 1)
        return f"{scheme}//{_called(address)}"

    def _address(self, name: str) -> str:
        """An address as it is set, with the port that it leaves out."""
        address = self.values.get(name, f"http://{LOOPBACK}:{URLS[name]}")
        found = urlsplit(address)
        return address if found.port else f"{address}:{UNNAMED[name][found.scheme == 'https']}"

    @property
    def certificate(self) -> Path | None:
        """The certificate that this server shows, where its addresses begin with https; None without one."""
        return self.folder / self.values["certificate_file"] if "certificate_file" in self.values else None

    @property
    def grpc_certificate(self) -> Path | None:
        """The certificate shown over gRPC, where that speaks TLS; else None."""
        return self.certificate if self._says("enable_grpc_ssl") else None

    @property
    def secured(self) -> tuple[str, int] | None:
        """Host and port, on this machine, where predictions are asked for over TLS; None where over neither transport."""
        places = [urlsplit(self.url("inference"))] + ([urlsplit(f"https://{self.grpc_target}")] if self.grpc_certificate else [])
        return next(((url.hostname or LOOPBACK, url.port or HTTPS_PORT) for url in places if url.scheme == "https"), None)

    @property
    def tokens(self) -> bool:
        """Whether the server asks for tokens."""
        return not self._says("disable_token_authorization")

    def _says(self, name: str) -> bool:
        """Whether a setting is true, as Java reads it: in letters of any case."""
        return self.values.get(name, "").lower() == "true"

    @property
    def workers(self) -> dict[str, int]:
        """Worker processes by model: as its archive says, else as these settings do, else (TorchServe's own rule) one a core."""
        usual = int(self.values.get("default_workers_per_model", cores()))
        return {model: _workers_in(self.model_store / f"{model}.mar") or usual for model in self.models}

    @property
    def grpc_target(self) -> str:
        """host:port of inference over gRPC, to call it on this machine."""
        return f"{_called(self.values.get('grpc_inference_address', LOOPBACK))}:{self.values.get('grpc_inference_port', '7070')}"

    @property
    def ports(self) -> list[int]:
        """Every port that the server listens on."""
        urls = [urlsplit(self._address(name)).port or default for name, default in URLS.items()]
        return urls + [int(self.values.get(name, default)) for name, default in GRPC_PORTS.items()]


def _escaped(value: str) -> str:
    """A value as Java's properties hold it: in ASCII, other letters by their UTF-16."""
    units = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", units))


def _unescaped(value: str) -> str:
    """The inverse of `_escaped`."""
    units = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], value)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _called(address: str) -> str:
    """Where to call a server that listens on every address of its machine: no certificate is one for 0.0.0.0."""
    return re.sub(r"^0\.0\.0\.0\b", LOOPBACK, address)


def _is_address(text: str) -> bool:
    found = ADDRESS.fullmatch(text)
    return found is not None and (found["port"] is None or _is_port(found["port"]))


def _is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= MOST_PORTS


def _workers_in(archive: Path) -> int:
    """Workers by a model's own configuration; 0 if it leaves that open, or there is no archive.

    BAD_OPTION for an archive that is cut off, and for a configuration that cannot be read.
    """
    import yaml

    try:
        config = yaml.safe_load(_packed(archive, MODEL_CONFIG)) or {}
        return int(config.get("minWorkers") or 0)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        message = f"{MODEL_CONFIG} in {archive} cannot be read ({why}). Mend the model's own, and build it again with `make archive`."
        raise bad_option(message) from error


def _model_in(archive: Path) -> str:
    """The model that an archive holds; its file's name where it does not say."""
    manifest = _packed(archive, MANIFEST)
    try:
        return str(json.loads(manifest)["model"]["modelName"]) if manifest else archive.stem
    except (ValueError, KeyError, TypeError) as error:
        raise bad_option(f"{MANIFEST} in {archive} cannot be read ({error!r}). Build it again with `make archive`.") from error


def _packed(archive: Path, name: str) -> bytes:
    """A file of an archive; empty where either is missing. BAD_OPTION for an archive that is cut off."""
    if not archive.is_file():
        return b""
    try:
        with ZipFile(archive) as packed:
            return packed.read(name) if name in packed.namelist() else b""
    except (BadZipFile, EOFError, zlib.error) as error:
        raise bad_option(f"{archive} is no whole archive ({error}). Build it again with `make archive`.") from error


def why_closed(port: int) -> str:
    """Why a server cannot listen on a port; empty where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            return "may be opened by administrators alone. Choose one from 1024 up"
        except OSError:
            return "is taken by another program. End that, or choose another port"
    return ""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
