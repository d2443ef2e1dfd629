"""Where the API listens: tokens never go in the clear beyond this machine unless somebody says so; TLS works, both ways."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collector.client import Access, CollectorUnreachable, connected
from collector.listening import CannotListen, TlsFiles, check_host, is_loopback
from collector.pages.page import EnrollmentStatus
from tests.collector.asking import TOKEN, services
from tests.collector.calling import Call
from tests.collector.fleet import Office
from tests.collector.http_server import serving

SERVE = ("serve", "--broker", "mqtt://127.0.0.1:1", "--port", "0")


def pem(directory: Path, name: str, *, password: bytes | None = None) -> Path:
    """A certificate that vouches for itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password)
    )
    path = directory / f"{name}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )
    return path


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.0.2.7", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    if loopback:
        check_host(host, None, allow_plain_http=False)
    else:
        with pytest.raises(CannotListen):
            check_host(host, None, allow_plain_http=False)
        check_host(host, None, allow_plain_http=True)


def test_serve_refuses_to_send_tokens_in_the_clear(call: Call, tmp_path: Path) -> None:
    result = call(*SERVE, "--data", tmp_path / "data", "--host", "0.0.0.0")  # noqa: S104
    assert result.exit_code == 2
    assert "without TLS everybody on the way reads the tokens" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--tls-key", "{pem}"), "--tls-certificate is missing"),
        (("--tls-client-ca", "{pem}"), "--tls-certificate is missing"),
        (("--tls-certificate", "missing.pem"), "missing.pem: can't be used"),
        (("--tls-certificate", "{text}"), "can't be used"),
        (("--tls-certificate", "{locked}"), "give a PEM certificate and, as --tls-key"),
        (("--tls-certificate", "{pem}", "--tls-key", "{other}"), "can't be used"),
        (("--tls-certificate", "{pem}", "--tls-client-ca", "{text}"), "--tls-client-ca"),
    ],
)
def test_a_mistake_with_certificates_is_one_sentence(
    call: Call, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "text").write_text("no certificate")
    files = {
        "pem": pem(tmp_path, "server"),
        "other": pem(tmp_path, "other"),
        "locked": pem(tmp_path, "locked", password=b"secret"),
        "text": tmp_path / "text",
    }
    given = [option.format(**files) for option in options]
    result = call(*SERVE, "--data", tmp_path / "data", *given)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def ask_status(url: str) -> EnrollmentStatus:
    async def main() -> EnrollmentStatus:
        async with connected(Access(url, TOKEN)) as collector:
            return await collector.status()

    return asyncio.run(main())


def test_over_tls_a_client_has_to_trust_the_certificate(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = pem(tmp_path, "server")
    with serving(services(office), TlsFiles(certificate)) as url:
        assert url.startswith("https://")
        with pytest.raises(CollectorUnreachable):
            ask_status(url)
        monkeypatch.setenv("ESP_COLLECTOR_CA_FILE", str(certificate))
        assert ask_status(url).overview.enrolled == 0


def test_with_a_client_authority_nobody_else_gets_as_far_as_the_token(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client, stranger = (pem(tmp_path, name) for name in ("server", "client", "stranger"))
    monkeypatch.setenv("ESP_COLLECTOR_CA_FILE", str(server))
    with serving(services(office), TlsFiles(server, client_ca=client)) as url:
        for shown in (None, stranger):
            if shown is not None:
                monkeypatch.setenv("ESP_COLLECTOR_CLIENT_CERTIFICATE_FILE", str(shown))
            with pytest.raises(CollectorUnreachable):
                ask_status(url)
        monkeypatch.setenv("ESP_COLLECTOR_CLIENT_CERTIFICATE_FILE", str(client))
        assert ask_status(url).overview.enrolled == 0


def test_a_certificate_that_is_not_there_is_told_to_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ESP_COLLECTOR_CA_FILE", "/nowhere.pem")
    with pytest.raises(CollectorUnreachable, match="ESP_COLLECTOR_CA_FILE"):
        ask_status("https://127.0.0.1:1")
