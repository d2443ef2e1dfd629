"""Accounts made here are accounts to Mosquitto."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_config.passwords import hashed, matches, new_password, users


def test_a_hash_has_the_form_that_mosquitto_writes() -> None:
    """A fixed salt gives a fixed line."""
    kept = hashed("secret", salt=bytes(12), iterations=101)
    kind, iterations, salt, derived = kept.split("$")[1:]
    assert (kind, iterations, salt) == ("7", "101", "AAAAAAAAAAAAAAAA")
    assert len(derived) == 88


@given(st.text(max_size=50), st.text(max_size=50))
def test_only_the_password_itself_matches(password: str, other: str) -> None:
    """A hash matches its password, and no other."""
    kept = hashed(password)
    assert matches(password, kept)
    assert matches(other, kept) is (other == password)


def test_a_hash_of_another_kind_is_refused() -> None:
    """The older `$6$` is not taken for something that never matches."""
    with pytest.raises(ValueError, match="only \\$7\\$"):
        matches("secret", "$6$101$c2FsdA==$aGFzaA==")


def test_mosquitto_passwd_makes_the_same_hash(tmp_path: Path) -> None:
    """What Mosquitto's own program writes is what we compute from the same password and salt."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed; .ci/run installs it")
    file = tmp_path / "passwords"
    file.touch(mode=0o600)
    subprocess.run([program, "-b", str(file), "phone", "correct horse"], check=True)
    assert matches("correct horse", users(file.read_text())["phone"])


def test_new_passwords_differ_and_are_long() -> None:
    """Each account gets a password of its own."""
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43
