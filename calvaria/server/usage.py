"""What to type to call a server that runs."""

import os
from pathlib import Path

from calvaria.cores import cores
from calvaria.server.server import Server

TOKEN = "import json; print(json.load(open('{key_file}'))['inference']['key'])"


def how_to_call(server: Server) -> str:
    """Lines to paste, for a shell and for Python, for each model."""
    settings, key_file = server.settings, _shown(server.key_file)
    url = settings.url("inference")
    token = f'$(python3 -c "{TOKEN.format(key_file=key_file)}")'
    ca_file = _shown(settings.certificate) if settings.certificate and url.startswith("https:") else ""
    trusted, trusts = (f" --cacert {ca_file}", f', ca_file="{ca_file}"') if ca_file else ("", "")
    parts = [f"Ready at {url} and, for gRPC, {settings.grpc_target}; metrics at {settings.url('metrics')}/metrics.{_sharing(server)}"]
    for model in settings.models:
        parts += [
            f'curl --fail-with-body -T in.nrrd{trusted} -H "Authorization: Bearer {token}" {url}/predictions/{model} -o {model}.nrrd',
            "from calvaria.client import Client\n"
            f'client = Client("{url}", key_file="{key_file}"{trusts})\n'
            f'answer = client.predict("{model}", "in.nrrd")',
        ]
    parts.append("Logs lie in {}; `calvaria stop` ends it.".format(_shown(server.folder / "logs")))
    return "\n\n".join(parts)


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
