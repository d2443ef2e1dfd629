"""`esp-broker init` and `device`: tight modes, the same twice, and mistakes said in one sentence."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.wire.identity import Identity, ServiceIdentity, key_id
from broker_config.deployment import Deployment, init, issue_device, trusted_key
from broker_config.mosquitto import listeners
from broker_config.passwords import matches, users
from broker_config.problems import BrokerProblem
from tests.broker_config.brokers import call, is_root


def contents(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its mode, its time of change and its bytes."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.stat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_mtime_ns, data)
    return found


def public_key(tmp_path: Path) -> tuple[Path, str]:
    """A new Ed25519 public key, and its id."""
    key = Ed25519PrivateKey.generate().public_key()
    path = tmp_path / "public.pem"
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path, key_id(key.public_bytes_raw())


def test_all_is_private_to_its_owner(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, the directory itself included."""
    broker = tmp_path / "broker"
    init(broker, {})
    issue_device(broker, "PHONE-1", None)
    assert stat.S_IMODE(broker.stat().st_mode) == 0o700
    for path in broker.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_twice_changes_nothing(tmp_path: Path) -> None:
    """The second init, and the second issue of a device, leave every byte and time as it was."""
    broker = tmp_path / "broker"
    key, _ = public_key(tmp_path)
    assert call("init", broker, "--tenant", "acme", "--port", "18830").returncode == 0
    assert call("device", "PHONE-1", "--dir", broker, "--trust", key).returncode == 0
    before = contents(broker)
    again = call("init", broker, "--tenant", "acme", "--port", "18830")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
    assert call("init", broker).returncode == 0
    assert call("device", "PHONE-1", "--dir", broker, "--trust", key).returncode == 0
    assert contents(broker) == before


def test_an_init_that_was_cut_off_is_finished_by_the_next(tmp_path: Path) -> None:
    """Whatever single file is missing, init makes it again and the accounts still fit together."""
    broker = tmp_path / "broker"
    init(broker, {"tenant": "acme"})
    place = Deployment(broker)
    for missing in (
        place.configuration,
        place.access,
        place.passwords,
        broker / "identities" / "collector.json",
    ):
        missing.unlink()
        if missing.name == "collector.json":
            place.passwords.unlink()
        init(broker, {})
        assert missing.exists()
        identity = ServiceIdentity.model_validate_json(
            (broker / "identities" / "collector.json").read_bytes()
        )
        kept = users(place.passwords.read_text())
        assert identity.password is not None
        assert matches(identity.password, kept["_collector"])


@pytest.mark.parametrize("setting", ["--tenant=other", "--port=2000", "--development"])
def test_another_setting_is_refused(tmp_path: Path, setting: str) -> None:
    """An init that would mean another broker names the setting, the value that holds and the remedy."""
    broker = tmp_path / "broker"
    call("init", broker, "--tenant", "acme")
    before = contents(broker)
    refused = call("init", broker, setting)
    assert refused.returncode == 2
    assert setting.removeprefix("--").partition("=")[0] in refused.stderr
    assert "Traceback" not in refused.stderr
    assert contents(broker) == before


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Init takes no directory that holds other things."""
    (tmp_path / "letter.txt").write_text("Dear all")
    refused = call("init", tmp_path)
    assert refused.returncode == 2
    assert "choose an empty directory" in refused.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file is a sentence, not a traceback."""
    (tmp_path / "file").touch()
    refused = call("init", tmp_path / "file" / "broker")
    assert refused.returncode == 2
    assert "cannot write" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(is_root(), reason="root may write everywhere")
def test_a_directory_without_rights(tmp_path: Path) -> None:
    """A directory of another account is a sentence, too."""
    tmp_path.chmod(0o500)
    refused = call("init", tmp_path / "broker")
    assert refused.returncode == 2
    assert "Permission denied" in refused.stderr


def test_a_development_broker_stays_on_loopback(tmp_path: Path) -> None:
    """Anonymous access and a network address exclude each other."""
    refused = call("init", tmp_path / "broker", "--development", "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 2
    assert "loopback only" in refused.stderr
    assert not (tmp_path / "broker").exists()


def test_only_a_development_broker_lets_anybody_in(tmp_path: Path) -> None:
    """Hardened is the default: accounts, and no listener beyond loopback."""
    init(tmp_path / "hard", {})
    init(tmp_path / "soft", {"development": True})
    hard = Deployment(tmp_path / "hard").configuration.read_text()
    soft = Deployment(tmp_path / "soft").configuration.read_text()
    assert "allow_anonymous false" in hard
    assert "allow_anonymous true" not in hard
    assert "allow_anonymous true" in soft
    assert {found.host for text in (hard, soft) for found in listeners(text)} == {"127.0.0.1"}


def test_a_network_address_is_warned_about(tmp_path: Path) -> None:
    """Passwords without encryption on a network are the operator's choice, made knowingly."""
    made = call("init", tmp_path / "broker", "--host", "192.0.2.7")
    assert made.returncode == 0
    assert "without encryption" in made.stderr


def test_every_limit_has_its_reason(tmp_path: Path) -> None:
    """Each setting of the configuration stands below a comment."""
    init(tmp_path / "broker", {})
    paragraphs = Deployment(tmp_path / "broker").configuration.read_text().split("\n\n")
    bare = [text for text in paragraphs if not text.startswith(("#", "persistence_location"))]
    assert bare == []


def test_a_device_gets_what_the_agent_reads(tmp_path: Path) -> None:
    """The identity file names device, tenant, broker, account and the key to trust."""
    broker = tmp_path / "broker"
    key, kid = public_key(tmp_path)
    init(broker, {"tenant": "acme", "port": 18830})
    path, is_new = issue_device(broker, "PHONE-1", [trusted_key(key)])
    identity = Identity.model_validate_json(path.read_bytes())
    assert is_new
    assert (identity.tenant, identity.device, identity.username) == ("acme", "PHONE-1", "PHONE-1")
    assert identity.broker == "mqtt://127.0.0.1:18830"
    assert [trusted.kid for trusted in identity.trusted_keys] == [kid]
    assert identity.password is not None
    kept = users(Deployment(broker).passwords.read_text())
    assert matches(identity.password, kept["PHONE-1"])
    assert identity.password not in Deployment(broker).passwords.read_text()


def test_a_new_key_replaces_the_old_one_and_keeps_the_password(tmp_path: Path) -> None:
    """Keys change without locking the device out."""
    broker = tmp_path / "broker"
    init(broker, {})
    path, _ = issue_device(broker, "PHONE-1", [trusted_key(public_key(tmp_path)[0])])
    before = Identity.model_validate_json(path.read_bytes())
    key, kid = public_key(tmp_path)
    issue_device(broker, "PHONE-1", [trusted_key(key)])
    after = Identity.model_validate_json(path.read_bytes())
    assert [trusted.kid for trusted in after.trusted_keys] == [kid]
    assert after.password == before.password


def test_a_development_device_needs_no_password(tmp_path: Path) -> None:
    """Where everybody may do everything, a password would promise what is not there."""
    init(tmp_path / "broker", {"development": True})
    path, _ = issue_device(tmp_path / "broker", "PHONE-1", None)
    assert "password" not in json.loads(path.read_text())


@pytest.mark.parametrize("name", ["_collector", "a/b", "+", "", "-x", "x" * 65, "a:b", "a\nb"])
def test_a_name_that_is_no_device_id(tmp_path: Path, name: str) -> None:
    """A name that would mean another account, topic or line of the password file is refused."""
    init(tmp_path / "broker", {})
    with pytest.raises(BrokerProblem, match="no device id"):
        issue_device(tmp_path / "broker", name, None)


def test_a_key_that_is_none(tmp_path: Path) -> None:
    """A private key, another curve's key, rubbish and a missing file are each one sentence."""
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    other = tmp_path / "other.pem"
    other.write_bytes(
        X25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for path in (rubbish, other, tmp_path / "missing.pem"):
        with pytest.raises(BrokerProblem, match=path.name):
            trusted_key(path)


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    """A damaged broker.json is named with its field."""
    init(tmp_path / "broker", {})
    Deployment(tmp_path / "broker").settings_file.write_text('{"port": "many"}')
    refused = call("device", "PHONE-1", "--dir", tmp_path / "broker")
    assert refused.returncode == 2
    assert "broker.json: port" in refused.stderr


def test_devices_made_at_once_all_get_in(tmp_path: Path) -> None:
    """Two operators at the same time lose no account."""
    broker = tmp_path / "broker"
    init(broker, {})
    names = [f"PHONE-{number}" for number in range(16)]
    threads = [threading.Thread(target=issue_device, args=(broker, name, None)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = users(Deployment(broker).passwords.read_text())
    assert set(names) < set(kept)
