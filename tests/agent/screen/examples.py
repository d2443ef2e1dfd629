"""Realistic snapshots of enrollments, made by hand from the wire models: what the pictures and tests draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agent.wire.progress import (
    ErrorScreen,
    Failure,
    ItemProgress,
    PhaseProgress,
    Progress,
    Prompt,
    PromptAction,
    Remaining,
    Reporting,
    RowProgress,
)
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RowState,
    Section,
    Stage,
)

MINUTE: Final = 60_000
SECOND: Final = 1_000

MESSAGE: Final = "Welcome to Contoso. Please keep your device plugged in. Questions? Call 4-HELP."

CONNECTED: Final = Reporting(
    connected=True, broker="mqtts://mqtt.contoso.com:8883", collector_online=True
)
NOT_THROUGH: Final = CONNECTED.model_copy(
    update={"unacknowledged": 17, "not_through_since": datetime(2025, 11, 20, 14, 2, tzinfo=UTC)}
)
DISCONNECTED: Final = CONNECTED.model_copy(
    update={"connected": False, "collector_online": None, "unacknowledged": 4}
)


def identifier(name: str) -> str:
    """An id that the wire allows, recognizable in a failing test."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64].strip("_") or "item"


def item(
    name: str,
    state: ItemState = ItemState.NOT_STARTED,
    kind: ItemKind = ItemKind.APP,
    **fields: Any,
) -> ItemProgress:
    """An item named for a person; its id follows from the name."""
    started = state is not ItemState.NOT_STARTED
    given: dict[str, Any] = {
        "id": identifier(name),
        "blocking": True,
        "activity": "",
        "attempt": 1 if started else 0,
        "attempts_max": 3,
    }
    return ItemProgress(name=name, state=state, kind=kind, **(given | fields))


def row(
    title: str, *items: ItemProgress, verb: str = "completed", total: int | None = -1
) -> RowProgress:
    """A row whose state and count follow from its items; `total` None while they are being identified."""
    states = {i.state for i in items}
    if total is None:
        state = RowState.IN_PROGRESS
    elif total == 0 or (states <= SATISFIED_STATES and items):
        state = RowState.SUCCEEDED
    elif states & {ItemState.FAILED, ItemState.TIMED_OUT, ItemState.NOT_DETECTED}:
        state = RowState.FAILED
    elif states <= {ItemState.NOT_STARTED}:
        state = RowState.NOT_STARTED
    else:
        state = RowState.IN_PROGRESS
    return RowProgress(
        id=identifier(title),
        title=title,
        state=state,
        verb=verb,
        done=sum(i.state in SATISFIED_STATES for i in items),
        total=len(items) if total == -1 else total,
        items=items,
    )


def phase(which: Phase, state: RowState, *rows: RowProgress, shown: bool = True) -> PhaseProgress:
    """One of the three phases."""
    return PhaseProgress(phase=which, state=state, shown=shown, rows=rows)


DONE = ItemState.DONE
JOINING = "Joining your organization's network"


def _preparation(state: ItemState = DONE) -> PhaseProgress:
    step = ItemKind.STEP
    whole = RowState.SUCCEEDED if state is DONE else RowState.IN_PROGRESS
    return phase(
        Phase.DEVICE_PREPARATION,
        whole,
        row("Securing your hardware", item("TPM attestation", DONE, step, activity="Done")),
        row(JOINING, item("Microsoft Entra join", DONE, step, activity="Done")),
        row(
            "Registering your device for mobile management",
            item(
                "Device management enrollment",
                state,
                step,
                activity="Done" if state is DONE else "Working",
                deadline_ms=14 * MINUTE,
                moved_ms=72 * SECOND,
            ),
        ),
        row(
            "Preparing your device for mobile management",
            item(
                "Policy providers",
                DONE if state is DONE else ItemState.NOT_STARTED,
                step,
                activity="Done" if state is DONE else "Waiting",
            ),
        ),
    )


def policies(state: ItemState = DONE) -> RowProgress:
    """The row with its one tracked policy."""
    return row(
        "Security policies",
        item(
            "Device security baseline",
            state,
            ItemKind.POLICY,
            activity="Done" if state is DONE else "",
        ),
        verb="applied",
    )


def certificates(state: ItemState = DONE) -> RowProgress:
    """Two certificates."""
    return row(
        "Certificates",
        item("Contoso Root CA", state, ItemKind.CERTIFICATE),
        item("Device certificate", state, ItemKind.CERTIFICATE),
        verb="applied",
    )


def networks(state: ItemState = DONE) -> RowProgress:
    """One network."""
    return row("Network connections", item("Contoso Wi-Fi", state, ItemKind.NETWORK), verb="added")


OFFICE = item("Microsoft 365 Apps", DONE)
PORTAL = item("Company Portal", ItemState.ALREADY_PRESENT)
INSTALLING = item(
    "VPN Client",
    ItemState.DOWNLOADING,
    activity="Downloading",
    percent=45,
    attempt=2,
    deadline_ms=58 * MINUTE,
    moved_ms=18 * MINUTE + 18 * SECOND,
)
BROWSER = item("Microsoft Edge", waits_for=("VPN Client",))
READER = item("Adobe Acrobat Reader", blocking=False)


def account(
    state: RowState = RowState.NOT_STARTED, *rows: RowProgress, shown: bool = True
) -> PhaseProgress:
    """The last phase."""
    waiting = (
        row(JOINING, item("Sign in", kind=ItemKind.SCREEN)),
        row("Apps", item("Microsoft Teams"), item("OneDrive"), verb="installed"),
    )
    return phase(Phase.ACCOUNT_SETUP, state, *(rows or waiting), shown=shown)


_WINDOWS: Final[Mapping[str, Any]] = {
    "device": "DESKTOP-NEW001",
    "user": "john.doe@company.com",
    "enrollment_type": EnrollmentType.WINDOWS_AUTOPILOT,
    "platform": "Windows 11",
    "attempt": "0195f0a0-7c1e-7d34-b1a5-0c9a4c1f2a10",
    "attempt_number": 1,
    "gate": Gate.LOCKED,
    "organization": "Contoso",
    "profile_name": "Default ESP",
    "custom_message": MESSAGE,
}


def windows(**fields: Any) -> Progress:
    """A Windows Autopilot device in device setup, installing its third app."""
    given: dict[str, Any] = {
        "attempt_ms": 18 * MINUTE + 30 * SECOND,
        "phase": Phase.DEVICE_SETUP,
        "stage": Stage.INSTALLING_APPS,
        "percent": 57,
        "remaining": Remaining(low_s=720, high_s=1080),
        "deadline_ms": 60 * MINUTE,
        "phases": device_setup(OFFICE, PORTAL, INSTALLING, BROWSER, READER),
    }
    return Progress(**{**_WINDOWS, **given, **fields})


def device_setup(
    *apps: ItemProgress, state: RowState = RowState.IN_PROGRESS
) -> tuple[PhaseProgress, ...]:
    """All phases, with these apps in device setup."""
    return (
        _preparation(),
        phase(
            Phase.DEVICE_SETUP,
            state,
            policies(),
            certificates(),
            networks(),
            row("Apps", *apps, verb="installed"),
        ),
        account(),
    )


def readme() -> Progress:
    """The picture in the README: two apps at work, one already there, one that failed and holds nobody up."""
    defender = item(
        "Microsoft Defender",
        ItemState.VERIFYING,
        activity="Checking",
        deadline_ms=31 * MINUTE,
        moved_ms=18 * MINUTE + 27 * SECOND,
    )
    viewer = item(
        "Legacy Report Viewer", ItemState.FAILED, activity="Failed", attempt=3, blocking=False
    )
    apps = (OFFICE, PORTAL, INSTALLING, BROWSER, defender, item("Zoom"), viewer, READER)
    shown = windows(phases=device_setup(*apps))
    row_now = shown.phases[1].rows[3].model_copy(update={"state": RowState.IN_PROGRESS})
    setup = shown.phases[1].model_copy(update={"rows": (*shown.phases[1].rows[:3], row_now)})
    return shown.model_copy(update={"phases": (shown.phases[0], setup, shown.phases[2])})


def waiting_for_assignment() -> Progress:
    """The first seconds, before any assignment."""
    return windows(
        attempt_ms=4 * SECOND,
        phase=None,
        stage=Stage.WAITING_FOR_ASSIGNMENT,
        percent=0,
        remaining=None,
        deadline_ms=None,
        phases=(),
        profile_name=None,
        organization=None,
        custom_message=None,
    )


def preparing() -> Progress:
    """Device preparation, third step."""
    later = phase(
        Phase.DEVICE_SETUP,
        RowState.NOT_STARTED,
        policies(ItemState.NOT_STARTED),
        certificates(ItemState.NOT_STARTED),
        networks(ItemState.NOT_STARTED),
        row("Apps", item("Microsoft 365 Apps"), item("Company Portal"), verb="installed"),
    )
    return windows(
        attempt_ms=95 * SECOND,
        phase=Phase.DEVICE_PREPARATION,
        stage=Stage.PREPARING,
        percent=4,
        remaining=Remaining(low_s=1860, high_s=2760),
        phases=(_preparation(ItemState.INSTALLING), later, account()),
    )


def identifying() -> Progress:
    """Device setup has begun; the list of apps is not known yet."""
    phases = list(device_setup())
    phases[1] = phase(
        Phase.DEVICE_SETUP,
        RowState.IN_PROGRESS,
        policies(),
        row("Certificates", verb="applied", total=None),
        row("Network connections", verb="added", total=0),
        row("Apps", verb="installed", total=None),
    )
    return windows(percent=21, phases=tuple(phases), stage=Stage.DEVICE_SETUP, remaining=None)


def account_setup(**fields: Any) -> Progress:
    """Account setup on Windows, with Teams being installed."""
    apps = row(
        "Apps",
        item(
            "Microsoft Teams",
            ItemState.INSTALLING,
            activity="Installing",
            percent=70,
            deadline_ms=95 * MINUTE,
            moved_ms=41 * MINUTE,
        ),
        item("OneDrive"),
        verb="installed",
    )
    phases = list(device_setup(OFFICE, PORTAL, item("VPN Client", DONE), state=RowState.SUCCEEDED))
    phases[2] = account(
        RowState.IN_PROGRESS,
        row(JOINING, item("Sign in", DONE, ItemKind.SCREEN), item("Account registration", DONE)),
        apps,
    )
    given: dict[str, Any] = {
        "attempt_ms": 41 * MINUTE + 12 * SECOND,
        "phase": Phase.ACCOUNT_SETUP,
        "percent": 88,
        "remaining": Remaining(low_s=180, high_s=420),
        "deadline_ms": 101 * MINUTE,
        "phases": tuple(phases),
    }
    return windows(**(given | fields))


def frozen() -> Progress:
    """An installer that has not moved for seven minutes."""
    still = INSTALLING.model_copy(
        update={
            "moved_ms": 11 * MINUTE,
            "state": ItemState.INSTALLING,
            "activity": "Installing",
            "percent": None,
        }
    )
    return windows(phases=device_setup(OFFICE, PORTAL, still, BROWSER, READER))


def offers() -> Progress:
    """Device blocking is off: the person need not wait."""
    return windows(choices=(Choice.CONTINUE_ANYWAY,))


def skip_offered() -> Progress:
    """Account setup may be left out."""
    return account_setup(choices=(Choice.SKIP_ACCOUNT_SETUP,))


VPN_FAILURE: Final = Failure(
    kind=FailureKind.INSTALLER_FAILED,
    code="0x80070643",
    person="The installer reported an error.",
    engineer="msiexec ended with 1603",
    item="vpn_client",
)
EDGE_FAILURE: Final = Failure(
    kind=FailureKind.NOT_DETECTED,
    code="0x87D1041C",
    person="It was installed, but could not be found afterwards.",
    engineer="detection rule: file C:\\Program Files\\Edge\\msedge.exe is missing",
    item="microsoft_edge",
)
VPN_FAILED = item("VPN Client", ItemState.FAILED, activity="Failed", attempt=3, failure=VPN_FAILURE)
CANCELLED = INSTALLING.model_copy(
    update={"state": ItemState.CANCELLED, "activity": "Cancelled", "percent": None}
)
EDGE_FAILED = item(
    "Microsoft Edge",
    ItemState.NOT_DETECTED,
    activity="Not found after installing",
    attempt=3,
    failure=EDGE_FAILURE,
)


def error(*, details: bool = True, **fields: Any) -> Progress:
    """The error screen with every choice, two apps having failed."""
    given: dict[str, Any] = {
        "attempt_ms": 34 * MINUTE,
        "stage": Stage.NEEDS_ATTENTION,
        "percent": 66,
        "remaining": None,
        "phases": device_setup(
            OFFICE, PORTAL, VPN_FAILED, EDGE_FAILED, READER, state=RowState.FAILED
        ),
        "error": ErrorScreen(
            title="Something needs your attention",
            message=MESSAGE,
            failures=(VPN_FAILURE, EDGE_FAILURE) if details else (),
            deadline_ms=34 * MINUTE + 24 * 60 * MINUTE,
        ),
        "choices": (
            Choice.TRY_AGAIN,
            Choice.TRY_ITEM_AGAIN,
            Choice.CONTINUE_ANYWAY,
            Choice.RESET_DEVICE,
            Choice.COLLECT_LOGS,
        ),
        "retryable": ("vpn_client", "microsoft_edge"),
        "failure": VPN_FAILURE,
        "show_details": details,
    }
    return windows(**(given | fields))


def macos(**fields: Any) -> Progress:
    """A Mac from Automated Device Enrollment, applying policies."""
    phases = (
        phase(
            Phase.DEVICE_PREPARATION,
            RowState.SUCCEEDED,
            row(
                "Remote Management",
                item("Remote Management", DONE, ItemKind.SCREEN),
                item("Enrollment profile", DONE, ItemKind.STEP),
            ),
            row("Awaiting configuration", item("Device check-in", DONE, ItemKind.STEP)),
        ),
        phase(
            Phase.DEVICE_SETUP,
            RowState.IN_PROGRESS,
            row(
                "Security policies",
                item("FileVault settings", DONE, ItemKind.POLICY),
                item(
                    "Firewall settings",
                    ItemState.INSTALLING,
                    ItemKind.POLICY,
                    activity="Applying",
                    deadline_ms=20 * MINUTE,
                    moved_ms=11 * MINUTE + 20 * SECOND,
                ),
                verb="applied",
            ),
            row("Apps", item("Microsoft 365 Apps"), item("Company Portal"), verb="installed"),
        ),
        phase(
            Phase.ACCOUNT_SETUP, RowState.NOT_STARTED, row("Your account", item("Create account"))
        ),
    )
    given: dict[str, Any] = {
        "device": "MacBook-NEW002",
        "user": "jane.smith@company.com",
        "enrollment_type": EnrollmentType.MACOS_ADE,
        "platform": "macOS 14",
        "profile_name": "Executive ESP",
        "attempt_ms": 11 * MINUTE + 25 * SECOND,
        "stage": Stage.APPLYING_POLICIES,
        "percent": 50,
        "remaining": Remaining(low_s=840, high_s=1320),
        "deadline_ms": 90 * MINUTE,
        "phases": phases,
    }
    return windows(**(given | fields))


def prompt(
    which: str, title: str, text: str, *actions: tuple[PersonAction, str], **fields: Any
) -> Prompt:
    """A person screen."""
    return Prompt(
        item=which,
        screen=which,
        title=title,
        text=text,
        actions=tuple(PromptAction(action=a, label=label) for a, label in actions),
        **fields,
    )


TRUST: Final = prompt(
    "trust_profile",
    "Trust remote management",
    "Trust the profile's source to enroll this device.",
    (PersonAction.PROCEED, "Trust"),
    (PersonAction.CANCEL, "Cancel"),
    (PersonAction.CLOSE, "Close"),
    section=Section.PLATFORM_SCREENS,
    action_name="iOSProfileLaunch",
    deadline_ms=31 * MINUTE,
)
TERMS: Final = prompt(
    "terms_of_use",
    "Terms of use",
    "Read your organization's terms. Access needs all of them accepted.",
    (PersonAction.PROCEED, "Accept all"),
    (PersonAction.DECLINE_ALL, "Decline All"),
    (PersonAction.CLOSE, "Close"),
    section=Section.TERMS_OF_USE,
    action_name="TermsofUse",
    deadline_ms=33 * MINUTE,
)


def ios(**fields: Any) -> Progress:
    """An iPhone on which the profile's source has to be trusted."""
    screen = ItemKind.SCREEN
    phases = (
        phase(
            Phase.DEVICE_PREPARATION,
            RowState.IN_PROGRESS,
            row(
                "Setup checklist",
                item("Set up access", DONE, screen),
                item("What's next", DONE, screen),
            ),
            row(
                "Platform screens",
                item("Show profile", DONE, screen),
                item("Download profile", DONE, ItemKind.STEP),
                item("Install profile", DONE, screen),
                item(
                    "Trust profile",
                    ItemState.WAITING_FOR_PERSON,
                    screen,
                    activity="Waiting for you",
                    deadline_ms=31 * MINUTE,
                    moved_ms=3 * MINUTE,
                    attempts_max=1,
                ),
                item("Installing profile", kind=ItemKind.STEP),
            ),
        ),
        phase(
            Phase.DEVICE_SETUP,
            RowState.NOT_STARTED,
            row("Setup checklist", item("Enrolling device"), item("Loading company resources")),
        ),
        phase(
            Phase.ACCOUNT_SETUP,
            RowState.NOT_STARTED,
            row("Compliance/Activation", item("Device settings")),
        ),
    )
    given: dict[str, Any] = {
        "device": "iPhone-NEW003",
        "user": "bob.jones@company.com",
        "enrollment_type": EnrollmentType.IOS,
        "platform": "iOS 17",
        "attempt_ms": 4 * MINUTE + 10 * SECOND,
        "phase": Phase.DEVICE_PREPARATION,
        "stage": Stage.WAITING_FOR_PERSON,
        "percent": 25,
        "remaining": None,
        "phases": phases,
        "prompt": TRUST,
    }
    return windows(**(given | fields))


def android(state: ItemState = ItemState.WAITING_FOR_PERSON, **fields: Any) -> Progress:
    """An Android phone at the terms of use."""
    waits = state is ItemState.WAITING_FOR_PERSON
    screen = ItemKind.SCREEN
    phases = (
        phase(
            Phase.DEVICE_PREPARATION,
            RowState.IN_PROGRESS,
            row(
                "Setup checklist",
                item("Set up access", DONE, screen),
                item("What's next", DONE, screen),
            ),
            row(
                "Terms of use",
                item(
                    "Terms of use",
                    state,
                    screen,
                    activity="Waiting for you" if waits else "Cancelled",
                    moved_ms=90 * SECOND,
                    deadline_ms=33 * MINUTE,
                ),
            ),
            row("Platform screens", item("Create work profile"), item("Setting up work profile")),
        ),
        phase(
            Phase.DEVICE_SETUP,
            RowState.NOT_STARTED,
            row("Setup checklist", item("Open Company Portal")),
        ),
        phase(
            Phase.ACCOUNT_SETUP,
            RowState.NOT_STARTED,
            row("Compliance/Activation", item("Device settings")),
        ),
    )
    given: dict[str, Any] = {
        "device": "Pixel-NEW004",
        "user": "mary.major@company.com",
        "enrollment_type": EnrollmentType.ANDROID_ENTERPRISE,
        "platform": "Android 14",
        "attempt_ms": 3 * MINUTE,
        "percent": 12,
        "phases": phases,
        "prompt": TERMS,
    }
    return ios(**(given | fields))


def many_apps() -> Progress:
    """Twenty-five apps, the fifteenth being installed."""
    apps = [item(f"Line of business app {n:02d}", DONE) for n in range(1, 15)]
    apps.append(INSTALLING.model_copy(update={"name": "Line of business app 15", "id": "lob_15"}))
    apps += [item(f"Line of business app {n:02d}") for n in range(16, 26)]
    return windows(phases=device_setup(*apps))


def long_names() -> Progress:
    """Names at the edge of what the wire allows, and one that tries to move the cursor."""
    apps = (
        item(
            "Enterprise Resource Planning Front-End with all regional add-ons for Europe " * 2, DONE
        ),
        item(
            "会社ポータル・セキュリティ・コンポーネント・インストーラー・パッケージ二〇二五年版",
            ItemState.INSTALLING,
            activity="Installing",
            percent=10,
            moved_ms=18 * MINUTE,
            deadline_ms=50 * MINUTE,
        ),
        item("Evil\x1b[2J\u202egnp.exe\n\tApp"),
    )
    return windows(
        device="LAPTOP-" + "X" * 57,
        user="a.person.with.a.remarkably.long.name@subsidiary.of.a.large.company.example.com",
        custom_message="Please be patient. " * 60,
        phases=device_setup(*apps),
    )


def unseen_account_setup() -> Progress:
    """The gate is open while account setup goes on unseen."""
    seen = account_setup(gate=Gate.RELEASED)
    hidden = seen.phases[2].model_copy(update={"shown": False})
    return seen.model_copy(update={"phases": (*seen.phases[:2], hidden)})


REFUSAL: Final = Failure(
    kind=FailureKind.DIFFERENT_USER,
    code="0x801c0003",
    person="This device is already enrolled with a different user.",
    engineer="device DESKTOP-NEW001 belongs to bob.jones@company.com",
)
SILENCE: Final = Failure(
    kind=FailureKind.PERSON_SILENT,
    code="TermsofUse",
    person="Nobody answered for more than 30 minutes.",
    engineer="TermsofUse: Exceeded 30 minutes",
)
TIMEOUT: Final = Failure(
    kind=FailureKind.SETUP_TIMED_OUT,
    code="0x800705B4",
    person="Device setup did not finish within 60 minutes.",
    engineer="device budget of 60 minutes",
)


def ended(state: EndState) -> Progress:
    """An attempt that ended this way."""
    return _ENDS[state]()


def _end(state: EndState, **fields: Any) -> Progress:
    given = {"stage": Stage.FINISHED, "remaining": None, "deadline_ms": None, "end_state": state}
    return windows(**(given | fields))


def _succeeded(state: EndState) -> Progress:
    apps = [OFFICE, PORTAL, item("VPN Client", DONE), item("Microsoft Edge", DONE)]
    phases = list(device_setup(*apps, item("Adobe Acrobat Reader", DONE), state=RowState.SUCCEEDED))
    phases[2] = account(
        RowState.SUCCEEDED,
        row(JOINING, item("Sign in", DONE, ItemKind.SCREEN)),
        row("Apps", item("Microsoft Teams", DONE), item("OneDrive", DONE), verb="installed"),
    )
    return _end(
        state,
        phases=tuple(phases),
        percent=100,
        gate=Gate.RELEASED,
        attempt_ms=45 * MINUTE,
        phase=Phase.ACCOUNT_SETUP,
    )


def _timed_out() -> Progress:
    late = INSTALLING.model_copy(update={"state": ItemState.TIMED_OUT, "activity": "Took too long"})
    return _end(
        EndState.TIMED_OUT,
        attempt_ms=60 * MINUTE,
        failure=TIMEOUT,
        phases=device_setup(OFFICE, PORTAL, late, BROWSER, READER, state=RowState.FAILED),
    )


def _failed_apps(state: EndState, **fields: Any) -> Progress:
    phases = device_setup(OFFICE, PORTAL, VPN_FAILED, EDGE_FAILED, READER, state=RowState.FAILED)
    return _end(state, phases=phases, percent=66, **fields)


_ENDS: Final[Mapping[EndState, Callable[[], Progress]]] = {
    EndState.SUCCEEDED: lambda: _succeeded(EndState.SUCCEEDED),
    EndState.SUCCEEDED_ON_RETRY: lambda: _succeeded(EndState.SUCCEEDED_ON_RETRY),
    EndState.BYPASSED: lambda: _failed_apps(EndState.BYPASSED, gate=Gate.BYPASSED),
    EndState.FAILED: lambda: _failed_apps(EndState.FAILED, failure=VPN_FAILURE),
    EndState.TIMED_OUT: _timed_out,
    EndState.ABANDONED: lambda: android(
        ItemState.CANCELLED,
        prompt=None,
        stage=Stage.FINISHED,
        end_state=EndState.ABANDONED,
        failure=SILENCE,
        attempt_ms=33 * MINUTE,
    ),
    EndState.REFUSED: lambda: _end(
        EndState.REFUSED,
        phases=(),
        percent=0,
        failure=REFUSAL,
        attempt_ms=6 * SECOND,
        profile_name=None,
    ),
    EndState.RESET: lambda: _failed_apps(EndState.RESET),
    EndState.SUPERSEDED: lambda: _end(
        EndState.SUPERSEDED, phases=device_setup(OFFICE, PORTAL, CANCELLED, BROWSER, READER)
    ),
}

SCENES: Final[Mapping[str, tuple[Callable[[], Progress], Reporting]]] = {
    "waiting-for-assignment": (waiting_for_assignment, CONNECTED),
    "device-preparation": (preparing, CONNECTED),
    "identifying": (identifying, CONNECTED),
    "device-setup": (windows, CONNECTED),
    "account-setup": (account_setup, CONNECTED),
    "macos": (macos, CONNECTED),
    "android-terms": (android, CONNECTED),
    "ios-prompt": (ios, CONNECTED),
    "frozen": (frozen, CONNECTED),
    "many-apps": (many_apps, CONNECTED),
    "readme": (readme, CONNECTED),
    "long-names": (long_names, CONNECTED),
    "offers": (offers, CONNECTED),
    "skip-offered": (skip_offered, CONNECTED),
    "error": (error, CONNECTED),
    "error-details-hidden": (lambda: error(details=False), CONNECTED),
    "unseen-account-setup": (unseen_account_setup, CONNECTED),
    "reports-not-through": (windows, NOT_THROUGH),
    "disconnected": (windows, DISCONNECTED),
    **{f"ended-{s.value}": (make, CONNECTED) for s, make in _ENDS.items()},
}
"""Every picture of the page: what it shows, and how reporting goes."""
