"""What to type to call a server that runs."""

import os
from pathlib import Path

from calvaria.server.server import Server

TOKEN = "import json; print(json.load(open('{key_file}'))['inference']['key'])"


def how_to_call(server: Server) -> str:
    """Lines to paste, for a shell and for Python, for each model."""
    url, key_file = server.settings.url("inference"), _shown(server.key_file)
    token = f'$(python3 -c "{TOKEN.format(key_file=key_file)}")'
    parts = [f"Ready at {url} and, for gRPC, {server.settings.grpc_target}; metrics at {server.settings.url('metrics')}/metrics."]
    for model in server.settings.models:
        parts += [
            f'curl -T in.nrrd -H "Authorization: Bearer {token}" {url}/predictions/{model} -o {model}.nrrd',
            "from calvaria.client import Client\n"
            f'client = Client("{url}", key_file="{key_file}")\n'
            f'answer = client.predict("{model}", "in.nrrd")',
        ]
    parts.append("Logs lie in {}; `calvaria stop` ends it.".format(_shown(server.folder / "logs")))
    return "\n\n".join(parts)


def _shown(path: Path) -> str:
    """Relative to where the user is, if it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
