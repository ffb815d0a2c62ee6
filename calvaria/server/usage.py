"""What to type to call a server that runs, and what stands in the way of calling it."""

import os
from datetime import timedelta
from pathlib import Path

from calvaria.cores import cores
from calvaria.server.server import Server

HEADER = "import json; print('Authorization: Bearer', json.load(open('{key_file}'))['inference']['key'])"

SOON = timedelta(days=7)
"""How long before a token expires it is told."""


def how_to_call(server: Server) -> str:
    """Lines to paste, for a shell and for Python, for each model."""
    settings, key_file = server.settings, _shown(server.key_file)
    url = settings.url("inference")
    header = f'python3 -c "{HEADER.format(key_file=key_file)}"'  # over a pipe: the list of processes shows everyone a command's words
    ca_file = _shown(settings.certificate) if settings.certificate and url.startswith("https:") else ""
    trusted, trusts = (f" --cacert {ca_file}", f', ca_file="{ca_file}"') if ca_file else ("", "")
    parts = [f"Ready at {url} and, for gRPC, {settings.grpc_target}; metrics at {settings.url('metrics')}/metrics.{_sharing(server)}"]
    for model in settings.models:
        parts += [
            f"{header} | curl --noproxy '*' --fail-with-body -T in.nrrd{trusted} -H @- {url}/predictions/{model} -o {model}.nrrd",
            "from calvaria.client import Client\n"
            f'client = Client("{url}", key_file="{key_file}"{trusts})\n'
            f'answer = client.predict("{model}", "in.nrrd")',
        ]
    parts.append("Logs lie in {}; `calvaria stop` ends it.".format(_shown(server.folder / "logs")))
    return "\n\n".join(parts)


def why_silent(server: Server) -> str:
    """Why nothing is known of a server's workers."""
    if server.key_file.exists() and not os.access(server.key_file, os.R_OK):
        return f"{server.key_file} cannot be read from this account: ask from the one that runs the server."
    if not server.running:
        return "No server is running."
    if server.locked_out:
        return f"The server runs, but refuses the tokens in {server.key_file}, and gives no others for them. Start it again."
    return "The server is starting; no worker is ready."


def about_token(left: timedelta) -> str:
    """What is to be said of a token for requests that expires, or has expired; empty while there is time."""
    if left <= timedelta():
        return "The token for requests has expired, so every client is refused: `calvaria renew` makes another."
    days = left / timedelta(days=1)
    return f"The token for requests expires in {days:.1f} days: `calvaria renew` makes another." if left < SOON else ""


def _sharing(server: Server) -> str:
    """How several workers share the cores; nothing of one alone."""
    workers = server.settings.workers
    if sum(workers.values()) < 2:
        return ""
    counts = ", ".join(f"{count} of {model}" for model, count in workers.items())
    return f" Workers: {counts}; each computes with {server.threads} of {cores()} cores."


def _shown(path: Path) -> str:
    """A path, relative to where the user is if it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
