"""The command lines for webhooks, backup, restore and retention: what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.cli import app
from collector.operations import Operations
from tests.collector.asking import TOKEN, services
from tests.collector.fleet import Office, Reporter
from tests.collector.http_server import serving

RUN = CliRunner()


@pytest.fixture
def asked(office: Office, tmp_path: Path) -> Iterator[list[str]]:
    """The options that name a collector which serves."""
    token = tmp_path / "shown-token"
    token.write_text(TOKEN)
    operations = Operations(office.store.database, office.clock, office.metrics)
    with serving(services(office), operations=operations) as url:
        yield ["--url", url, "--token-file", str(token)]


def run(*arguments: str, code: int = 0) -> str:
    result = RUN.invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_webhook_is_added_listed_tested_and_removed(asked: list[str]) -> None:
    told = run("webhook", "add", "http://127.0.0.1:1/", "--kind", "enrollment.stuck", *asked)
    # The collector of this test logs to the same place.
    added, secret = told.splitlines()[-2:]
    name = added.removeprefix("added ")
    assert secret.startswith("secret whsec_")
    assert name in run("webhook", "list", *asked)
    assert "kinds: enrollment.stuck" in run("webhook", "show", name, *asked)
    assert "not delivered: " in run("webhook", "test", name, *asked, code=1)
    listed = json.loads(run("webhook", "list", "--json", *asked).splitlines()[-1])
    assert [one["id"] for one in listed["webhooks"]] == [name]
    assert run("webhook", "remove", name, *asked).endswith(f"removed {name}\n")
    assert "there is no webhook" in run("webhook", "show", name, *asked, code=1)


def test_a_webhook_that_may_not_be_says_why(asked: list[str]) -> None:
    told = run("webhook", "add", "https://169.254.169.254/", *asked, code=1)
    assert "url: 169.254.169.254 is a link-local or metadata address" in told
    run("webhook", "add", "https://169.254.169.254/", "--allow-any-address", *asked)


def test_backup_and_restore(office: Office, tmp_path: Path) -> None:
    office.take_in([Reporter().begin()])
    data, copy, new = str(tmp_path), str(tmp_path / "copy"), str(tmp_path / "new")
    assert "copied 1 report of 1 attempt" in run("backup", "--data", data, "--to", copy)
    assert "is there already" in run("backup", "--data", data, "--to", copy, code=2)
    made = json.loads(run("restore", "--data", new, "--from", copy, "--json"))
    assert (made["reports"], made["attempts"]) == (1, 1)
    assert "--replace" in run("restore", "--data", new, "--from", copy, code=2)
    assert (tmp_path / "copy" / "backup.json").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["backup", "--to", "copy"], "pg_dump --format=custom --file=copy/store.dump 'postgresql://esp@db/esp'"),
        (["restore", "--from", "copy"], "pg_restore --clean --if-exists --dbname='postgresql://esp@db/esp'"),
    ],
)  # fmt: skip
def test_a_postgresql_store_has_commands_of_its_own(
    tmp_path: Path, command: list[str], says: str
) -> None:
    url = "postgresql+psycopg://esp:secret@db/esp"
    told = run(*command, "--data", str(tmp_path), "--database", url, code=2)
    assert says in " ".join(told.split())
    assert "secret" not in told


def test_retention_counts_before_it_removes(office: Office, tmp_path: Path) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    data = ["--data", str(tmp_path), "--keep", "31"]
    counted = json.loads(run("retain", *data, "--dry-run", "--json"))
    assert (counted["attempts"], counted["reports"], counted["removed"]) == (1, 2, False)
    assert "removed 2 reports of 1 attempt" in run("retain", *data)
    assert list(office.store.stored_rows()) == []
    assert "removed 0 reports" in run("retain", *data)


@pytest.mark.parametrize("keep", ["30", "0", "-1", "x"])
def test_the_windows_of_the_reports_are_never_cut(tmp_path: Path, keep: str) -> None:
    run("retain", "--data", str(tmp_path), "--keep", keep, code=2)
    serve = ["serve", "--data", str(tmp_path), "--broker", "mqtt://127.0.0.1:1", "--keep", keep]
    run(*serve, code=2)


def test_retention_without_a_store_says_so(tmp_path: Path) -> None:
    assert "there is no store" in run("retain", "--data", str(tmp_path), "--keep", "90", code=2)
