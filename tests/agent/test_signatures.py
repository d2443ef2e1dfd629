"""Signatures: only what a trusted key signed, as the kind of message it is, is believed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest

from agent.core.reading import SignatureRefused
from agent.signatures import IdentityRefused, JwsVerifier, read_account, read_identity
from agent.wire.codec import SIGNATURE_TYPES, decode
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey
from agent.wire.messages import Signed
from agent.wire.topics import Channel
from tests.agent.fakes import Signer

ASSIGNMENT = SIGNATURE_TYPES[Channel.ASSIGNMENT]
COMMAND = SIGNATURE_TYPES[Channel.COMMAND]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def verifier(signer: Signer) -> JwsVerifier:
    return JwsVerifier([signer.trusted])


def compact(signer: Signer, payload: bytes = b"hello", typ: str = ASSIGNMENT) -> str:
    return decode(Signed, signer.sign_bytes(payload, typ)).compact


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_what_a_trusted_key_signed_is_believed(signer: Signer, verifier: JwsVerifier) -> None:
    assert verifier.verify(compact(signer), ASSIGNMENT) == b"hello"


def test_an_unknown_key_is_refused_whatever_it_calls_itself(
    signer: Signer, verifier: JwsVerifier
) -> None:
    other = Signer()
    with pytest.raises(SignatureRefused, match="not trusted"):
        verifier.verify(compact(other), ASSIGNMENT)
    other.trusted = signer.trusted
    with pytest.raises(SignatureRefused, match="does not hold"):
        verifier.verify(compact(other), ASSIGNMENT)


def test_an_altered_payload_is_refused(signer: Signer, verifier: JwsVerifier) -> None:
    protected, _, signature = compact(signer).split(".")
    with pytest.raises(SignatureRefused, match="does not hold"):
        verifier.verify(f"{protected}.{b64(b'hullo')}.{signature}", ASSIGNMENT)


def test_a_command_never_passes_for_an_assignment(signer: Signer, verifier: JwsVerifier) -> None:
    with pytest.raises(SignatureRefused, match="not as esp-assignment"):
        verifier.verify(compact(signer, typ=COMMAND), ASSIGNMENT)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "None"])
def test_another_algorithm_is_refused(
    signer: Signer, verifier: JwsVerifier, algorithm: str
) -> None:
    """Also the one that takes the public key for a shared secret."""
    header = {"alg": algorithm, "kid": signer.trusted.kid, "typ": ASSIGNMENT}
    head = f"{b64(json.dumps(header).encode())}.{b64(b'hello')}"
    with pytest.raises(SignatureRefused):
        verifier.verify(f"{head}.{b64(b'')}", ASSIGNMENT)
    if algorithm == "HS256":
        key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        mac = key.sign(head.encode(), signer.trusted.public_key.encode())
        with pytest.raises(SignatureRefused, match="signed with 'HS256'"):
            verifier.verify(f"{head}.{b64(mac)}", ASSIGNMENT)


@pytest.mark.parametrize("junk", ["", "a.b", "a.b.c", "....", "e30.e30.e30"])
def test_what_is_no_signature_is_refused(verifier: JwsVerifier, junk: str) -> None:
    with pytest.raises(SignatureRefused):
        verifier.verify(junk, ASSIGNMENT)


def test_without_trusted_keys_nothing_is_believed(signer: Signer) -> None:
    with pytest.raises(SignatureRefused, match="not trusted"):
        JwsVerifier([]).verify(compact(signer), ASSIGNMENT)


def test_an_identity_file_is_read(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    identity = Identity(tenant="t", device="PC-1", trusted_keys=(signer.trusted,))
    path.write_text(identity.model_dump_json(exclude_none=True))
    assert read_identity(path) == identity


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "Invalid JSON"),
        ('{"device": "PC-1"}', "tenant: Field required"),
        ('{"tenant": "t", "device": "a b"}', "device:"),
        ("x" * 300_000, "too large"),
    ],
)
def test_an_identity_file_that_can_t_be_used_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "identity.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(IdentityRefused, match=said) as refusal:
        read_identity(path)
    assert str(path) in str(refusal.value)


def test_an_account_may_be_a_devices_or_a_services(tmp_path: Path) -> None:
    device = Identity(tenant="t", device="PC-1")
    desk = ServiceIdentity(
        role="help_desk", tenant="t", broker="mqtt://b", username="_helpdesk", password="x"
    )
    for account in (device, desk):
        path = tmp_path / "account.json"
        path.write_text(account.model_dump_json(exclude_none=True, indent=2))
        assert read_account(path) == account
    with pytest.raises(IdentityRefused, match="schema: "):
        read_identity(path)


def test_a_trusted_key_that_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    identity = Identity(
        tenant="t", device="PC-1", trusted_keys=(TrustedKey(kid="k", public_key=pem),)
    )
    path = tmp_path / "identity.json"
    path.write_text(identity.model_dump_json(exclude_none=True))
    with pytest.raises(IdentityRefused, match="trusted key 'k'"):
        read_identity(path)
