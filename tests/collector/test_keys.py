"""The signing key is made once, kept to its owner, and never replaced behind anybody's back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from agent.wire.identity import key_id
from collector.keys import KeyRefused, load_or_make, load_or_make_token


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_key_is_made_at_the_first_start_and_stays(tmp_path: Path) -> None:
    first = load_or_make(tmp_path / "keys")
    assert mode(tmp_path / "keys" / "private.pem") == 0o600
    assert (tmp_path / "keys" / "public.pem").read_text() == first.public_pem
    assert load_or_make(tmp_path / "keys").trusted_key == first.trusted_key


def test_the_key_id_is_what_everybody_computes(tmp_path: Path) -> None:
    signer = load_or_make(tmp_path)
    public = load_pem_public_key(signer.public_pem.encode())
    assert signer.trusted_key.kid == key_id(public.public_bytes_raw())  # type: ignore[union-attr]


def test_a_damaged_key_is_refused_and_kept(tmp_path: Path) -> None:
    load_or_make(tmp_path)
    path = tmp_path / "private.pem"
    path.write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(KeyRefused, match=r"private\.pem: can't be read .* restore it"):
        load_or_make(tmp_path)
    assert path.read_text() == "-----BEGIN NONSENSE-----"


def test_a_missing_public_key_is_written_again(tmp_path: Path) -> None:
    signer = load_or_make(tmp_path)
    (tmp_path / "public.pem").unlink()
    load_or_make(tmp_path)
    assert (tmp_path / "public.pem").read_text() == signer.public_pem


def test_the_token_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert load_or_make_token(path, "first") == "first"
    assert load_or_make_token(path, "second") == "first"
    assert mode(path) == 0o600
