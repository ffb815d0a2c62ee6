"""Whom a client trusts, and by which name it knows a server."""

import ssl
from pathlib import Path

from calvaria.errors import bad_option
from calvaria.files import reading


def trust(ca_file: Path | str | None) -> ssl.SSLContext:
    """Trust whoever signed with one of these certificates, and who shows one of them; without a file, those that this machine trusts.

    BAD_OPTION unless the file can be read and may hold certificates.
    """
    context = ssl.create_default_context(cafile=_checked(ca_file) if ca_file else None)
    if ca_file:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed a server's own certificate may not be at hand
    return context


def pem(ca_file: Path | str | None) -> bytes | None:
    """For gRPC, certificates to trust: likewise. None where this machine has no list (SSL_CERT_FILE names one): gRPC takes its own."""
    if ca_file:
        return _checked(ca_file).read_bytes()
    places = ssl.get_default_verify_paths()
    found = [Path(places.cafile)] if places.cafile else []
    found += [Path(places.capath) / "ca-certificates.crt"] if places.capath else []
    return next((path.read_bytes() for path in found if path.is_file()), None)


def known_as(name: str | None) -> dict[str, str]:
    """For httpx, a request's extensions: the name that the certificate must have, where the address has another."""
    return {"sni_hostname": name} if name else {}


def named(name: str | None) -> list[tuple[str, str]]:
    """For gRPC, options of a channel: likewise."""
    return [("grpc.ssl_target_name_override", name)] if name else []


def _checked(ca_file: Path | str) -> Path:
    with reading(ca_file):
        holds = b"-----BEGIN CERTIFICATE-----" in Path(ca_file).read_bytes()
    if not holds:
        raise bad_option(f"{ca_file} holds no certificate (PEM). Name the server's.")
    return Path(ca_file)
