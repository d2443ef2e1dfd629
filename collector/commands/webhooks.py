"""`esp-collector webhook`: who is told when an enrollment starts, fails, is stuck or finishes."""

from __future__ import annotations

from typing import Annotated

import typer

from collector.client import Collector
from collector.commands.command_line import (
    EXIT_FAILED,
    Json,
    TokenFile,
    Url,
    ask_collector,
    fail,
    print_line,
)
from collector.pages.operations_page import WebhookDetails, WebhookLine, WebhookRequest
from collector.pages.text import table
from collector.webhooks.news import Kind

WebhookId = Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]

webhook_app = typer.Typer(help="Add, list, show, test and remove webhooks.", no_args_is_help=True)


@webhook_app.command("add")
def webhook_add(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where it is told; https.")],
    kind: Annotated[
        list[Kind] | None, typer.Option(help="May be given several times; all else.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    *,
    allow_any_address: Annotated[
        bool,
        typer.Option(
            "--allow-any-address",
            help="Also link-local and metadata addresses, and http beyond this machine.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell a URL from now on; prints the secret that its receiver checks signatures with, once.

    \b
    Example:
      esp-collector webhook add https://help.example.com/esp --kind enrollment.stuck
    """
    asked = WebhookRequest(
        url=target, kinds=tuple(kind or Kind), allow_any_address=allow_any_address
    )

    async def ask(collector: Collector) -> None:
        made = await collector.add_webhook(asked)
        told = f"added {made.webhook.id}\nsecret {made.secret}"
        print_line(made.model_dump_json() if as_json else told)

    ask_collector(url, token_file, ask)


@webhook_app.command("list")
def webhook_list(url: Url = None, token_file: TokenFile = None, *, as_json: Json = False) -> None:
    """All webhooks, and how telling them goes."""

    async def ask(collector: Collector) -> None:
        found = await collector.webhooks()
        lines = table(
            ("Webhook", "URL", "Delivered", "Waiting", "Given up", "State"),
            [_row(one) for one in found.webhooks],
        )
        print_line(found.model_dump_json() if as_json else "\n".join(lines))

    ask_collector(url, token_file, ask)


@webhook_app.command("show")
def webhook_show(
    webhook: WebhookId, url: Url = None, token_file: TokenFile = None, *, as_json: Json = False
) -> None:
    """One webhook with what waits for it or was given up."""

    async def ask(collector: Collector) -> None:
        found = await collector.webhook(webhook)
        print_line(found.model_dump_json() if as_json else "\n".join(_details(found)))

    ask_collector(url, token_file, ask)


@webhook_app.command("test")
def webhook_test(
    webhook: WebhookId, url: Url = None, token_file: TokenFile = None, *, as_json: Json = False
) -> None:
    """Send a test message now and once; exit code 1 when it was not taken."""

    async def ask(collector: Collector) -> None:
        tried = await collector.test_webhook(webhook)
        if as_json:
            print_line(tried.model_dump_json())
        elif tried.delivered:
            print_line(f"delivered in {tried.took_ms} ms, answered {tried.status}")
        if not tried.delivered:
            fail(f"not delivered: {tried.problem}", EXIT_FAILED)

    ask_collector(url, token_file, ask)


@webhook_app.command("remove")
def webhook_remove(webhook: WebhookId, url: Url = None, token_file: TokenFile = None) -> None:
    """Tell it nothing any more, and forget what was waiting for it."""

    async def ask(collector: Collector) -> None:
        await collector.remove_webhook(webhook)
        print_line(f"removed {webhook}")

    ask_collector(url, token_file, ask)


def _row(one: WebhookLine) -> tuple[str, ...]:
    state = "ok" if one.failing_since is None else f"failing since {one.failing_since:%d %b %H:%M}"
    return (
        one.id,
        one.url,
        f"{one.delivered:,}",
        f"{one.waiting:,}",
        f"{one.given_up:,}",
        state,
    )


def _details(found: WebhookDetails) -> list[str]:
    one = found.webhook
    lines = [
        f"{one.id}  {one.url}",
        f"kinds: {', '.join(one.kinds)}",
        f"delivered {one.delivered:,}, waiting {one.waiting:,}, given up {one.given_up:,}",
    ]
    if one.last_problem is not None:
        lines.append(f"failing since {one.failing_since:%Y-%m-%d %H:%M:%S}: {one.last_problem}")
    rows = [
        (
            message.message,
            message.kind,
            str(message.tries),
            f"next {message.next_try_at:%d %b %H:%M:%S}"
            if message.next_try_at is not None
            else "given up",
            message.problem or "",
        )
        for message in found.undelivered
    ]
    if rows:
        lines += ["", *table(("Message", "Kind", "Tries", "Then", "Problem"), rows)]
    return lines
