"""Whom a client trusts, and by which name it knows a server."""

import ssl
from pathlib import Path


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Trust whoever signed with one of these certificates, and who shows one of them; without a file, those that this machine trusts."""
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed a server's own certificate may not be at hand
    return context


def known_as(name: str | None) -> dict[str, str]:
    """For httpx, a request's extensions: the name that the certificate must have, where the address has another."""
    return {"sni_hostname": name} if name else {}


def named(name: str | None) -> list[tuple[str, str]]:
    """For gRPC, options of a channel: likewise."""
    return [("grpc.ssl_target_name_override", name)] if name else []
