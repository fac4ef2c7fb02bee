"""TLS for DICOM (BCP 195): version 1.2 or later, and both sides show a certificate of the same authority."""

from __future__ import annotations

import ssl

from carpal.errors import ConfigError
from carpal.service.config import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """For those who connect to us; without a certificate of `ca` they get no further. Raises ConfigError."""
    return _context(tls, ssl.PROTOCOL_TLS_SERVER)


def client_context(tls: Tls) -> ssl.SSLContext:
    """For peers that we connect to; their certificate must name the host that we call. Raises ConfigError."""
    return _context(tls, ssl.PROTOCOL_TLS_CLIENT)


def _context(tls: Tls, side: int) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[tls]: the certificate, its key or the ca cannot be used - {error.strerror or error} - all three are PEM "
            "files, and the key belongs to the certificate"
        ) from error
    return context
