"""Trust in this very server, whose certificate is at hand."""

import ssl
from pathlib import Path


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trust a server that shows this certificate, whoever signed it and whatever name it is called by here."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False  # it is called by its address, and the certificate has the name that others call it by
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it may not be at hand
    return context
