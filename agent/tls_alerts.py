"""What a broker's TLS says about why it will not talk, as a sentence with the remedy."""

from __future__ import annotations

import ssl
from typing import Final

ANOTHER: Final = "ask for a new identity (esp-broker device NAME --renew)"

ALERTS: Final[dict[str, str]] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate and this device has none; start with --identity",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it wants another certificate than this device has; start with --identity",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"this device's certificate has expired; {ANOTHER}",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"this device's certificate was revoked; {ANOTHER}",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"it can't use this device's certificate; {ANOTHER}",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"it does not take this kind of certificate; {ANOTHER}",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"it does not accept this device's certificate; {ANOTHER}",
    "TLSV1_ALERT_UNKNOWN_CA": f"it does not know who signed this device's certificate; {ANOTHER}",
    "TLSV1_ALERT_DECRYPT_ERROR": f"it does not know who signed this device's certificate; {ANOTHER}",
}
"""By the names that OpenSSL gives the alerts of RFC 8446, section 6.2."""

NO_ANSWER: Final = (
    "it ended the connection without an answer; if it speaks TLS, write mqtts:// in its address"
)


def refusal_of(error: ssl.SSLError) -> str | None:
    """Why the broker refused, if that is what the error says."""
    return ALERTS.get(error.reason or "")


def distrust_of(error: BaseException | None) -> str | None:
    """Why this side refused the broker, if that is what went wrong."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return (
        f"the broker's certificate is not to be trusted ({error.verify_message}); "
        "check its address, this device's clock, and that the identity file is of this broker"
    )
