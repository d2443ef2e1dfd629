"""The API describes itself completely: what each route is for, who may ask, what it answers, and with examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from collector.access import Role
from collector.api import make_app
from collector.problem import MEDIA_TYPE

DOCUMENT: dict[str, Any] = make_app(None).openapi()
OPEN = {"/health"}
# These two methods change nothing, though they are sent with a body.
QUESTIONS = re.compile(r"/deviceManagement/reports/")


def operations() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            yield pytest.param(path, method, described, id=f"{method.upper()} {path}")


@pytest.mark.parametrize(("path", "method", "described"), operations())
def test_a_route_says_what_it_does_for_whom_and_what_comes_back(
    path: str, method: str, described: dict[str, Any]
) -> None:
    assert described["description"].rstrip().endswith(".")
    assert described["tags"]
    good = {status: a for status, a in described["responses"].items() if status.startswith("2")}
    assert len(good) == 1
    ((status, answer),) = good.items()
    if status != "204":
        assert answer["content"], "what comes back"
        for content in answer["content"].values():
            assert content["schema"] not in ({}, None)
    if path in OPEN:
        assert "security" not in described
        return
    (scheme,) = described["security"]
    roles = {Role(role) for role in scheme["token"]}
    assert roles
    if method != "get" and not QUESTIONS.search(path):
        assert roles & {Role.HELPDESK, Role.ADMIN}
    for refusal in ("401", "403", "422", "429", "503"):
        assert MEDIA_TYPE in described["responses"][refusal]["content"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/devices/esp-profiles", "post"),
        ("/api/devices/esp-profiles/{profile}", "put"),
        ("/api/devices/esp-profiles/{profile}", "patch"),
        ("/api/devices/esp-profile-order", "put"),
        ("/api/esp-profile-import", "post"),
        ("/api/registrations", "post"),
        ("/api/devices/{device}/commands", "post"),
        ("/{version}/deviceManagement/reports/getEnrollmentFailureDetailsReport", "post"),
    ],
)
def test_a_body_comes_with_examples(path: str, method: str) -> None:
    body = DOCUMENT["paths"][path][method]["requestBody"]
    (content,) = body["content"].values()
    for example in content["examples"].values():
        assert example["summary"]
        assert "value" in example


def test_the_token_is_described() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for role in Role:
        assert role.value in scheme["description"]


def test_the_five_paths_of_the_document_are_there() -> None:
    paths = DOCUMENT["paths"]
    for path, methods in (
        ("/api/devices/enrollment-status", {"get"}),
        ("/api/devices/enrollment-status/active", {"get"}),
        ("/api/devices/enrollment-status/failures", {"get"}),
        ("/api/devices/esp-profiles", {"get", "post"}),
    ):
        assert set(paths[path]) == methods
