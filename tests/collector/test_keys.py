"""The signing key is made once, kept to its owner, and never replaced behind anybody's back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from agent.wire.identity import key_id
from collector.keys import KeyRefused, Rotation, load_or_make, load_or_make_token, rotate


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


def test_a_key_is_replaced_with_an_overlap(tmp_path: Path) -> None:
    """At every step the devices that trust what the step before said can check what is signed now."""
    old = load_or_make(tmp_path).trusted_key
    both = rotate(tmp_path, Rotation.PREPARE)
    assert (both[0], len(both)) == (old, 2)
    new = both[1]
    assert rotate(tmp_path, Rotation.PREPARE) == both
    assert load_or_make(tmp_path).trusted_key == old
    assert rotate(tmp_path, Rotation.SWITCH) == [new, old]
    assert rotate(tmp_path, Rotation.SWITCH) == [new, old]
    assert load_or_make(tmp_path).trusted_key == new
    assert mode(tmp_path / "private.pem") == 0o600
    assert rotate(tmp_path, Rotation.FINISH) == [new]
    assert (tmp_path / "public.pem").read_text() == new.public_key


def test_a_step_too_early_is_refused(tmp_path: Path) -> None:
    """Nobody switches to a key that no device was given, or finishes what was not switched."""
    load_or_make(tmp_path)
    with pytest.raises(KeyRefused, match="make it with `prepare`"):
        rotate(tmp_path, Rotation.SWITCH)
    rotate(tmp_path, Rotation.PREPARE)
    with pytest.raises(KeyRefused, match="is not in use yet"):
        rotate(tmp_path, Rotation.FINISH)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """At the start, with the command that closes it."""
    load_or_make(tmp_path)
    key = tmp_path / "private.pem"
    key.chmod(0o640)
    with pytest.raises(KeyRefused, match=f"mode 0640.*chmod 600 {key}"):
        load_or_make(tmp_path)
