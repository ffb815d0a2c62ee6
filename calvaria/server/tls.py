"""Trust in this very server, whose certificate is at hand."""

import socket
import ssl
from pathlib import Path
from typing import Any

from calvaria.client.trust import trust


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trust a server that shows this certificate, whoever signed it and whatever name it is called by here."""
    context = trust(certificate)
    context.check_hostname = False  # it is called by its address, and the certificate has the name that others call it by
    return context


def name_of(host: str, port: int, certificate: Path) -> str | None:
    """A name, or else an address, that the certificate has; None where the server's address on this machine, which it shows it at, will do.

    OSError if nobody shows it there.
    """
    with socket.create_connection((host, port), timeout=10) as plain, trusting(certificate).wrap_socket(plain) as secured:
        shown: Any = (secured.getpeercert() or {}).get("subjectAltName", ())
    names = [value for wanted in ("DNS", "IP Address") for kind, value in shown if kind == wanted and ":" not in value]
    if not names or any(value == host for _, value in shown):
        return None
    return str(names[0]).replace("*", "calvaria")
