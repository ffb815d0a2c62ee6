"""What to type to call a server that runs, and what stands in the way of calling it."""

import json
import os
from datetime import timedelta
from urllib.parse import urlsplit

from calvaria.cores import cores
from calvaria.server.server import Server
from calvaria.server.settings import HTTPS_PORT
from calvaria.server.typed import command, quoted, shown

HEADER = "import json, sys; print('Authorization: Bearer', json.load(open(sys.argv[1]))['inference']['key'])"

SOON = timedelta(days=7)
"""How long before a token expires it is told."""


def how_to_call(server: Server) -> str:
    """Lines to paste, for a shell and for Python, for each model."""
    settings, url, name = server.settings, server.settings.url("inference"), server.name
    shell, python = _for_curl(server, name), ", ".join([f'"{url}"', *_for_client(server, name)])
    parts = [f"Ready at {url} and, for gRPC, {settings.grpc_target}; metrics at {settings.url('metrics')}/metrics.{_sharing(server)}"]
    for model in settings.models:
        parts += [
            f"{shell}/predictions/{model} -o {model}.nrrd",
            f'from calvaria.client import Client\nclient = Client({python})\nanswer = client.predict("{model}", "in.nrrd")',
        ]
    parts.append(f"Logs lie in {shown(server.folder / 'logs')}; `{command('stop', server.folder)}` ends it.")
    return "\n\n".join(parts)


def _for_curl(server: Server, name: str | None) -> str:
    """A line for a shell, up to the server's address; the token over a pipe, since everyone sees a command's words."""
    url = server.settings.url("inference")
    token = f'python3 -c "{HEADER}" {quoted(server.key_file)} | ' if server.settings.tokens else ""
    words = ["curl --noproxy '*' --fail-with-body -T in.nrrd"]
    if (certificate := server.settings.certificate) and url.startswith("https:"):
        words.append(f"--cacert {quoted(certificate)}")
        if name:
            host, port = urlsplit(url).hostname, urlsplit(url).port or HTTPS_PORT
            words.append(f"--connect-to {name}:{port}:{host}:{port}")
            url = f"https://{name}:{port}"
    return token + " ".join([*words, *(["-H @-"] if token else []), url])


def _for_client(server: Server, name: str | None) -> list[str]:
    """What Client is given beside the address."""
    certificate = server.settings.certificate if server.settings.url("inference").startswith("https:") else None
    given = {
        "key_file": shown(server.key_file) if server.settings.tokens else None,
        "ca_file": shown(certificate) if certificate else None,
        "name": name if certificate else None,
    }
    return [f"{word}={json.dumps(value, ensure_ascii=False)}" for word, value in given.items() if value]


def why_silent(server: Server) -> str:
    """Why nothing is known of a server's workers."""
    if server.key_file.exists() and not os.access(server.key_file, os.R_OK):
        return f"{server.key_file} cannot be read from this account: ask from the one that runs the server."
    if not server.running:
        return "No server is running."
    if server.management.locked_out:
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
    return f" Workers: {counts}; each computes with {server.threads_used} of {cores()} cores."
