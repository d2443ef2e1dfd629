"""`esp-broker init` and `device`: tight modes, the same twice, and mistakes said in one sentence."""

from __future__ import annotations

import json
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.assembly import build_tls
from agent.given import BadInput
from agent.wire.identity import Identity, key_id
from broker_config.access import Role
from broker_config.authority import revoked_serials
from broker_config.deployment import (
    Deployment,
    init,
    issue_device,
    revoke,
    trusted_key,
    trusted_keys,
)
from broker_config.mosquitto import listeners
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
    """Whatever single file is missing, init makes it again and what it makes fits together."""
    broker = tmp_path / "broker"
    init(broker, {"tenant": "acme"})
    place = Deployment(broker)
    collector = place.service_identity(Role.COLLECTOR)
    for missing in (
        place.configuration,
        place.access,
        place.tls.server,
        place.tls.services_revoked,
        collector,
        collector.with_suffix(".key"),
    ):
        missing.unlink()
        init(broker, {})
        assert missing.exists()
        context = ssl.create_default_context(cafile=place.identities / "authority.pem")
        context.load_cert_chain(collector.with_suffix(".pem"), collector.with_suffix(".key"))
        context.load_cert_chain(place.tls.server, place.tls.server.with_suffix(".key"))


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


def test_a_network_address_opens_the_listener_of_devices_alone(tmp_path: Path) -> None:
    """Devices come from anywhere and need a certificate; collector and help desk stay on this machine until told."""
    init(tmp_path / "one", {"host": "mqtt.acme.example"})
    init(tmp_path / "two", {"host": "mqtt.acme.example", "service_host": "10.0.0.7"})
    hosts = {
        name: [found.host for found in listeners((tmp_path / name / "mosquitto.conf").read_text())]
        for name in ("one", "two")
    }
    assert hosts == {"one": ["", "127.0.0.1"], "two": ["", ""]}
    content = (tmp_path / "two" / "mosquitto.conf").read_text()
    assert all(found.is_tls for found in listeners(content))
    assert content.count("require_certificate true") == 2


def test_every_limit_has_its_reason(tmp_path: Path) -> None:
    """Each setting of the configuration stands below a comment."""
    init(tmp_path / "broker", {})
    paragraphs = Deployment(tmp_path / "broker").configuration.read_text().split("\n\n")
    bare = [text for text in paragraphs if not text.startswith(("#", "persistence_location"))]
    assert bare == []


def test_a_device_gets_what_the_agent_reads(tmp_path: Path) -> None:
    """The identity file names device, tenant, broker, certificate and the key to trust."""
    broker = tmp_path / "broker"
    key, kid = public_key(tmp_path)
    init(broker, {"tenant": "acme", "port": 18830})
    path, is_new = issue_device(broker, "PHONE-1", [trusted_key(key)])
    identity = Identity.model_validate_json(path.read_bytes())
    assert is_new
    assert (identity.tenant, identity.device, identity.password) == ("acme", "PHONE-1", None)
    assert identity.broker == "mqtts://127.0.0.1:18830"
    assert [trusted.kid for trusted in identity.trusted_keys] == [kid]
    assert build_tls(identity, path).check_hostname


def test_a_new_key_replaces_the_old_one_and_keeps_the_certificate(tmp_path: Path) -> None:
    """Keys change without locking the device out; while they do, one file holds both."""
    broker = tmp_path / "broker"
    init(broker, {})
    path, _ = issue_device(broker, "PHONE-1", [trusted_key(public_key(tmp_path)[0])])
    before = (path.parent / "certificate.pem").read_bytes()
    (old, old_kid), both = public_key(tmp_path), tmp_path / "both.pem"
    both.write_bytes(old.read_bytes())
    new, new_kid = public_key(tmp_path)
    both.write_bytes(both.read_bytes() + new.read_bytes())
    issue_device(broker, "PHONE-1", trusted_keys(both))
    after = Identity.model_validate_json(path.read_bytes())
    assert [trusted.kid for trusted in after.trusted_keys] == [old_kid, new_kid]
    assert (path.parent / "certificate.pem").read_bytes() == before


def test_renewing_issues_anew_what_ends(tmp_path: Path) -> None:
    """Server, collector and help desk get other certificates from the same authorities; devices when named."""
    broker = tmp_path / "broker"
    init(broker, {"tenant": "acme"})
    path, _ = issue_device(broker, "PHONE-1", None)
    place = Deployment(broker)
    collector = place.service_identity(Role.COLLECTOR)
    renewed = [place.tls.server, collector.with_suffix(".pem")]
    kept = [place.tls.devices_authority, place.tls.devices_revoked, place.configuration, path]
    before = contents(broker)
    assert call("init", broker, "--renew").returncode == 0
    after = contents(broker)
    changed = {name for name in after if before[name] != after[name] and after[name][2]}
    assert {str(file.relative_to(broker)) for file in renewed} < changed
    assert not {str(file.relative_to(broker)) for file in kept} & changed
    assert call("device", "PHONE-1", "--dir", broker, "--renew").returncode == 0
    certificate = str((path.parent / "certificate.pem").relative_to(broker))
    assert contents(broker)[certificate] != after[certificate]


def test_revoking_takes_back_every_certificate_of_a_device(tmp_path: Path) -> None:
    """Also one from before a renewal; a device of the same name that comes later is another one."""
    broker = tmp_path / "broker"
    init(broker, {"tenant": "acme"})
    issue_device(broker, "PHONE-1", None)
    issue_device(broker, "PHONE-1", None, renew=True)
    issue_device(broker, "PHONE-2", None)
    place = Deployment(broker)
    at_first = len(revoked_serials(place.tls.devices_revoked.read_text()))
    said = call("revoke", "PHONE-1", "--dir", broker)
    assert said.stdout == "revoked 2 certificates of PHONE-1\n"
    assert len(revoked_serials(place.tls.devices_revoked.read_text())) == at_first + 2
    assert "user PHONE-1\ntopic deny #" in place.access.read_text()
    assert not place.device_identity("PHONE-1").exists()
    path, is_new = issue_device(broker, "PHONE-1", None)
    assert is_new
    assert "topic deny" not in place.access.read_text()
    assert (path.parent / "certificate.pem").exists()


def test_revoking_somebody_unknown_is_one_sentence(tmp_path: Path) -> None:
    """A name that nothing was issued to, and a development broker, where nothing is."""
    init(tmp_path / "broker", {})
    init(tmp_path / "open", {"development": True})
    for directory, words in (("broker", "nobody here has a certificate as"), ("open", "develop")):
        refused = call("revoke", "PHONE-1", "--dir", tmp_path / directory)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_revoked_collector_gets_another_certificate_at_once(tmp_path: Path) -> None:
    """The old one is on the list, the new one is not."""
    broker = tmp_path / "broker"
    init(broker, {})
    place = Deployment(broker)
    certificate = place.service_identity(Role.COLLECTOR).with_suffix(".pem")
    before = certificate.read_bytes()
    assert revoke(broker, "_collector") == 1
    assert certificate.read_bytes() != before
    serial = x509.load_pem_x509_certificate(before).serial_number
    assert revoked_serials(place.tls.services_revoked.read_text()) == {serial}


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The authority's key, at the next signature; the message says how to close it."""
    broker = tmp_path / "broker"
    init(broker, {})
    key = Deployment(broker).tls.devices_authority.with_suffix(".key")
    key.chmod(0o644)
    refused = call("device", "PHONE-1", "--dir", broker)
    started = call("run", broker, "--port", "0")
    assert (refused.returncode, started.returncode) == (2, 2)
    assert f"chmod 600 {key}" in refused.stderr
    assert f"chmod 600 {key}" in started.stderr


def test_the_agent_refuses_a_key_that_others_may_read(tmp_path: Path) -> None:
    """The device's own, with the command that closes it; and one that is missing is named."""
    broker = tmp_path / "broker"
    init(broker, {})
    path, _ = issue_device(broker, "PHONE-1", None)
    identity, key = Identity.model_validate_json(path.read_bytes()), path.parent / "certificate.key"
    key.chmod(0o644)
    with pytest.raises(BadInput, match=f"mode 0644.*chmod 600 {key}"):
        build_tls(identity, path)
    key.unlink()
    with pytest.raises(BadInput, match="copy the whole folder"):
        build_tls(identity, path)


def test_no_device_is_named_like_a_collectors_connection(tmp_path: Path) -> None:
    """A device's name is its client id, and that of a collector's connection would end it."""
    init(tmp_path / "broker", {})
    with pytest.raises(BrokerProblem, match="choose another name"):
        issue_device(tmp_path / "broker", "esp-collector-acme-0", None)


def test_a_development_device_needs_no_password(tmp_path: Path) -> None:
    """Where everybody may do everything, a password would promise what is not there."""
    init(tmp_path / "broker", {"development": True})
    path, _ = issue_device(tmp_path / "broker", "PHONE-1", None)
    assert set(json.loads(path.read_text())) == {
        "schema",
        "tenant",
        "device",
        "broker",
        "trusted_keys",
    }


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
    issued = Deployment(broker).tls.issued.read_text().split()
    assert set(names) < set(issued)
