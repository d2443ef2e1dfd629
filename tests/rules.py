"""Which test shows which rule of the enrollment: `python -m tests.rules` prints the map that docs/rules.md holds."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

RULES: dict[str, str] = {
    "happy-path": "A device on which everything works passes the three phases in order, and the gate opens once.",
    "progress-not-shown": "Progress not shown for a context: no page there, and nothing of it holds the gate.",
    "device-not-blocking": 'Device blocking off: "Continue anyway" is offered once device preparation is done.',
    "account-not-blocking": "Account blocking off: the gate opens after device setup, and account setup goes on.",
    "details-off": "Error details off: the person sees the message, the report keeps the code.",
    "assignment-wait": "Before an assignment arrives there are 60 minutes.",
    "blocking-list": "The blocking list filters what is assigned, and pulls in what its items depend on; it assigns nothing.",
    "gate-waits-for-blocking": "The gate stays locked while a blocking item is not done.",
    "order": "Dependencies before dependants; side by side what may be; one installer at a time where the platform demands it.",
    "timeout": "One time budget for each context; it survives restarts, and at its end the page names what was running.",
    "attestation-cap": "TPM attestation has 7 minutes, then 0x800705B4.",
    "automatic-retries": "Three tries with a growing pause; a retry exit code waits five minutes; then the error screen.",
    "detection-decides": "Detection decides over the exit code.",
    "failures-told-apart": '"Timed out", "installer failed" and "not detected" are never the same thing.',
    "variants": "Every way of enrolling has a flow of its own; a way that the platform does not have is refused.",
    "windows-flow": "Windows: the steps in order, silent ones without a row, best effort stops nothing, account setup after sign-in.",
    "self-deploying": "Without a user (self-deploying, dedicated) there is no account setup.",
    "hybrid-join": "A hybrid join registers anew every 4 minutes, and its account setup may take 40 minutes longer.",
    "pre-provisioning": "The technician's part ends with resealing; when it fails there is no way past.",
    "technician-installs-all": "Pre-provisioning may try all required apps and fail on the listed ones only.",
    "quality-updates": "Windows quality updates run after the page, outside its time, and stop nothing.",
    "only-out-of-box": "A page for devices set up out of the box is not shown on others.",
    "macos-flow": "A Mac is held until it is configured; account settings and FileVault come before, the bootstrap token last.",
    "ios-flow": "An iPhone that enrolls automatically is held until it is configured.",
    "profile-window": "A management profile that is not installed within 8 minutes of its download is asked for again.",
    "android-flow": "A device that the organization owns is provisioned first; a failure there resets it; Knox is Samsung's only.",
    "no-policy-resets": "An Android device without a policy after 5 minutes is reset.",
    "deadline-on-every-wait": "Wherever everything stops, a deadline ends the attempt, with exactly one end.",
    "requirements": "What a device does not meet is skipped with the reason, never failed.",
    "dependencies": "Dependencies are installed for whoever needs them, unless that is off; what lacks one is not attempted.",
    "supersedence": "The newer app takes the older one's place, and gives it back where it does not apply.",
    "exit-codes": "An exit code means what the app or the platform says; detection still decides.",
    "explained": "Every assigned item has a role and the sentence that says why.",
    "not-applicable": "What does not apply to a device is skipped, never failed.",
    "choices-by-profile": "Only what the profile allows is offered, and everything else is refused with a reason.",
    "try-again": "Try again: the phase or one item alone; the budget restarts; what is there is detected; succeeded_on_retry.",
    "continue-anyway": "Continue anyway: the gate is bypassed, the failure stays on record, the rest is tried in the background.",
    "reset-device": "Reset: the attempt ends, and a new one starts from nothing.",
    "skip-account-setup": "Skip: the gate is released and the attempt ends succeeded, account setup skipped; only if allowed.",
    "non-blocking-failure": "An item that does not block is reported and shown when it fails, and never holds the gate.",
    "reboots": "Soft reboots wait for the end of the phase, hard ones hold the next install; the fifth for one item is stopped.",
    "restart-resumes": "After a restart or a power cut everything goes on where it was; what is there is detected, not installed twice.",
    "thirty-minutes": "30 minutes over a row's whole span, whoever is slow, end the attempt as abandoned.",
    "explicit-halt": "Cancel, postpone, ignore, decline and close end the attempt at once, each under its own name.",
    "coming-back": "Coming back is a new attempt.",
    "nobody-comes-back": "The error screen ends the attempt after 24 hours with the gate locked, or at once when there is no way out.",
    "superseded": "A new attempt ends an open older one as superseded.",
    "after-release": "After release the agent stays until reports are through and background work is settled, within what was asked.",
    "refusal": "A refusal ends the attempt before anything installs, with reason and code on screen and in the report.",
    "commands-once": "A command runs once, whatever is delivered again, resets included.",
    "commands-refused": "A command that is late, misdirected or not allowed is refused and answered with the reason.",
    "refused-messages": "What somebody else writes on a device's topics moves nothing, and is reported once for each message and reason.",
    "extend-timeout": "The running context's budget can be extended.",
    "refresh-assignment": "A newer assignment in mid-attempt keeps what is done and adds what is new.",
    "collect-logs": "Collected logs are reported with their path.",
    "emergency-exit": "The emergency exit bypasses the gate and is reported as what it was.",
    "progress": "Progress is work done, never time passed, and never falls.",
    "remaining-time": "The remaining time is a range, narrows, and is unknown while a person is waited for.",
    "rows": 'A row reads "2 of 3 installed".',
    "looks-frozen": "What waits says for what.",
}
"""Every rule by its name, in the words of the person who asks for it."""


def marked() -> Iterator[tuple[str, str]]:
    """Rule and test, as `path::name`, for every marker in the tests."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    rule = _rule_of(decorator)
                    if rule is not None:
                        yield rule, f"{path.relative_to(TESTS.parent)}::{node.name}"


def _rule_of(decorator: ast.expr) -> str | None:
    match decorator:
        case ast.Call(func=ast.Attribute(attr="rule"), args=[ast.Constant(value=str(name))]):
            return name
        case _:
            return None


def page() -> str:
    """The page docs/rules.md."""
    tests: dict[str, list[str]] = {rule: [] for rule in RULES}
    for rule, test in marked():
        tests[rule].append(test)
    lines = [
        "# Rules, and the tests that show them",
        "",
        "Made from the tests by `python -m tests.rules`. `make test` fails when a rule has no test, or a test names no rule.",
        "",
        "| rule | says | shown by |",
        "|---|---|---|",
    ]
    for rule, sentence in RULES.items():
        shown = "<br>".join(f"`{test}`" for test in tests[rule])
        lines.append(f"| {rule} | {sentence} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
