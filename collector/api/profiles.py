"""The ESP profiles: made, changed, assigned, ordered, switched off, taken away, and carried over from and to Graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import Field, JsonValue

from agent.wire.base import Identifier, Name, UserName
from agent.wire.graph import GraphRefused, profile_to_graph
from agent.wire.vocabulary import EnrollmentType, Variant
from collector.access import Role
from collector.api import examples
from collector.api.conditional import IfMatch, check_match, tag_of, tagged
from collector.api.links import link_next
from collector.api.parameters import NO_CONTROL_CHARACTERS, Listed
from collector.api.problems import ALWAYS, answers
from collector.api.services import DeviceName, Given, needs
from collector.desk import refuse_overflow
from collector.files import ContentRefused, check
from collector.pages import page
from collector.pages.explanation import Question, effective_profile
from collector.profiles.book import ProfileBook
from collector.profiles.choice import StoredProfile
from collector.profiles.setup import ProfileEntry, entry_from_graph
from collector.queries.paging import sliced

PATH: Final = "/api/devices/esp-profiles"
ORDER_PATH: Final = "/api/devices/esp-profile-order"
IMPORT_PATH: Final = "/api/esp-profile-import"

router = APIRouter(tags=["ESP profiles"], dependencies=[needs(Role.READ)], responses=ALWAYS)

ProfileName = Annotated[Identifier, Field(examples=["kiosk-esp"])]
_CHANGES: Final = answers(404, 409, 412, 428)


class ProfilesQuery(Listed):
    """Which profiles, in which order."""

    status: Literal["Active", "Inactive"] | None = None
    group: Annotated[Name, Field(pattern=NO_CONTROL_CHARACTERS)] | None = None
    """Assigned to this group."""
    name: Annotated[Name, Field(pattern=NO_CONTROL_CHARACTERS)] | None = None
    """The name holds this, without regard to case."""
    sort: Literal["priority", "-priority", "name", "-name"] = "priority"


class _Shelf:
    """The profiles as the API shows them."""

    def __init__(self, given: Given) -> None:
        self.book = ProfileBook(given.store.database, refuse_overflow)
        self.apps = page.assigned_apps(given.desk.catalogues())

    def row(self, stored: StoredProfile) -> page.ProfileRow:
        """One profile as it is answered."""
        return page.profile_row(stored, self.apps)

    def check(self, if_match: str | None) -> Callable[[StoredProfile], None]:
        """Refuses a change that was decided on another state."""
        return lambda current: check_match(if_match, self.row(current))


Shelf = Annotated[_Shelf, Depends(_Shelf)]


@router.get(PATH)
def profiles(
    shelf: Shelf,
    given: Given,
    asked: Annotated[ProfilesQuery, Query()],
    request: Request,
    response: Response,
) -> page.ProfileList:
    """The ESP profiles, in the order in which they are looked at."""
    rows = [stored for stored in shelf.book.all() if _is_wanted(stored, asked)]
    if asked.sort.endswith("name"):
        rows.sort(key=lambda p: (p.profile.name.casefold(), p.profile.id))
    if asked.sort.startswith("-"):
        rows.reverse()
    found = sliced(rows, asked.sort, lambda p: p.profile.id, asked.limit, asked.cursor)
    link_next(request, response, found.next_cursor)
    return tagged(request, response, page.profile_list(found, given.desk.catalogues()))


def _is_wanted(stored: StoredProfile, asked: ProfilesQuery) -> bool:
    if asked.status is not None and stored.status != asked.status:
        return False
    if asked.group is not None and asked.group not in stored.groups:
        return False
    return asked.name is None or asked.name.casefold() in stored.profile.name.casefold()


async def _content(request: Request) -> Any:
    """The body as it was sent, to find keys in it that no model has; it was parsed before."""
    return await request.json() if await request.body() else None


Content = Annotated[Any, Depends(_content)]


@router.post(PATH, status_code=201, dependencies=[needs(Role.ADMIN)], responses=answers(409))
def add_profile(
    shelf: Shelf,
    given: Given,
    entry: Annotated[ProfileEntry, Body(openapi_examples=examples.PROFILES)],
    content: Content,
    response: Response,
) -> page.ProfileRow:
    """Create an ESP profile. A key that no profile has is refused, at any depth."""
    check(ProfileEntry, content)
    return _created(shelf, given.desk.add_profile(entry), response)


def _created(shelf: _Shelf, stored: StoredProfile, response: Response) -> page.ProfileRow:
    row = shelf.row(stored)
    response.headers["Location"] = f"{PATH}/{row.id}"
    response.headers["ETag"] = tag_of(row)
    return row


@router.post(IMPORT_PATH, status_code=201, dependencies=[needs(Role.ADMIN)], responses=answers(409))
def import_profile(
    shelf: Shelf,
    given: Given,
    content: Annotated[dict[str, JsonValue], Body(openapi_examples=examples.GRAPH_PROFILES)],
    response: Response,
    group: Annotated[
        tuple[Annotated[Name, Field(pattern=NO_CONTROL_CHARACTERS)], ...],
        Query(
            max_length=100,
            description="A group that it is assigned to; may be given several times.",
        ),
    ] = (),
) -> page.ProfileRow:
    """Create a profile from Microsoft Graph's windows10EnrollmentCompletionPageConfiguration, with its own priority.

    Graph names groups by ids that are not known here, so say again whom it is assigned to.
    """
    try:
        entry = check(ProfileEntry, entry_from_graph(content, group))
    except GraphRefused as refused:
        raise ContentRefused(refused.key, refused.sentence) from None
    return _created(shelf, given.desk.add_profile(entry), response)


@router.get(f"{PATH}/{{profile}}", responses=answers(404))
def profile(
    shelf: Shelf, profile: ProfileName, request: Request, response: Response
) -> page.ProfileRow:
    """One profile. Its ETag is what a change has to name."""
    return tagged(request, response, shelf.row(shelf.book.get(profile)))


@router.get(f"{PATH}/{{profile}}/graph", responses=answers(404, 409))
def export_profile(shelf: Shelf, profile: ProfileName) -> dict[str, JsonValue]:
    """One profile as Microsoft Graph has it; an imported one comes back with everything that it had."""
    try:
        return dict(profile_to_graph(shelf.book.get(profile).profile))
    except GraphRefused as refused:
        raise ContentRefused(refused.key, refused.sentence) from None


@router.put(f"{PATH}/{{profile}}", dependencies=[needs(Role.ADMIN)], responses=_CHANGES)
def replace_profile(
    shelf: Shelf,
    profile: ProfileName,
    entry: Annotated[ProfileEntry, Body(openapi_examples=examples.PROFILES)],
    content: Content,
    response: Response,
    if_match: IfMatch = None,
) -> page.ProfileRow:
    """Replace every setting of a profile; what is left out gets its default, and the priority stays.

    Attempts that have the profile keep what they have; send `refresh_assignment` to change one of them.
    """
    check(ProfileEntry, content)
    made = entry.model_copy(update={"id": entry.id or profile})
    return _changed(shelf, profile, if_match, lambda _current: made, response)


@router.patch(f"{PATH}/{{profile}}", dependencies=[needs(Role.ADMIN)], responses=_CHANGES)
def change_profile(
    shelf: Shelf,
    profile: ProfileName,
    patch: Annotated[dict[str, JsonValue], Body(openapi_examples=examples.PATCHES)],
    response: Response,
    if_match: IfMatch = None,
) -> page.ProfileRow:
    """Change some settings of a profile: what is named changes, all else stays (RFC 7396, JSON Merge Patch).

    This is how a profile is assigned, switched off and on, and made the default.
    """

    def made(current: StoredProfile) -> ProfileEntry:
        return check(ProfileEntry, _merged(_as_entry(current), patch))

    return _changed(shelf, profile, if_match, made, response)


def _changed(
    shelf: _Shelf,
    profile: str,
    if_match: str | None,
    made: Callable[[StoredProfile], ProfileEntry],
    response: Response,
) -> page.ProfileRow:
    def fresh(current: StoredProfile) -> StoredProfile:
        entry = made(current)
        if entry.id != profile:
            raise ContentRefused("id", f"can't be changed; leave it out, or write '{profile}'")
        return entry.stored(current.priority)

    row = shelf.row(shelf.book.change(profile, shelf.check(if_match), fresh))
    response.headers["ETag"] = tag_of(row)
    return row


def _as_entry(stored: StoredProfile) -> dict[str, Any]:
    return {
        **stored.profile.model_dump(mode="json"),
        "assigned_groups": list(stored.groups),
        "priority": stored.priority,
        "active": stored.active,
        "default": stored.default,
    }


def _merged(current: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(current)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(known := merged.get(key), dict):
            merged[key] = _merged(known, value)
        else:
            merged[key] = value
    return merged


@router.delete(
    f"{PATH}/{{profile}}",
    status_code=204,
    dependencies=[needs(Role.ADMIN)],
    responses=_CHANGES,
)
def delete_profile(shelf: Shelf, profile: ProfileName, if_match: IfMatch = None) -> None:
    """Take a profile away. Attempts that have it keep it; the default profile stays."""
    shelf.book.delete(profile, shelf.check(if_match))


@router.get(ORDER_PATH)
def order(shelf: Shelf, request: Request, response: Response) -> page.ProfileOrder:
    """The order in which profiles are looked at; the default stands behind them."""
    return tagged(request, response, _order(shelf.book.all()))


@router.put(ORDER_PATH, dependencies=[needs(Role.ADMIN)], responses=answers(404, 412, 428))
def reorder(
    shelf: Shelf,
    wanted: Annotated[page.ProfileOrder, Body(openapi_examples=examples.ORDERS)],
    response: Response,
    if_match: IfMatch = None,
) -> page.ProfileOrder:
    """Say which profiles are looked at first; those that are not named come behind, in the order that they had."""
    stored = shelf.book.reorder(
        wanted.profiles, lambda current: check_match(if_match, _order(current))
    )
    answer = _order(stored)
    response.headers["ETag"] = tag_of(answer)
    return answer


def _order(stored: Sequence[StoredProfile]) -> page.ProfileOrder:
    return page.ProfileOrder(profiles=tuple(p.profile.id for p in stored if not p.default))


@router.get("/api/devices/{device}/effective-profile", responses=answers(404))
def explain_profile(
    given: Given,
    device: DeviceName,
    enrollment_type: EnrollmentType | None = None,
    variant: Variant | None = None,
    user: Annotated[UserName | None, Query(pattern=NO_CONTROL_CHARACTERS)] = None,
    os_version: Annotated[Name | None, Query(pattern=NO_CONTROL_CHARACTERS)] = None,
) -> page.EffectiveProfile:
    """Which profile the device would get now, why this one and not the others, and what of it acts there.

    What the request leaves out is taken from the device's latest attempt, else from its registration.
    """
    question = Question(
        device=device,
        enrollment_type=enrollment_type,
        variant=variant,
        user=user,
        os_version=os_version,
    )
    return effective_profile(question, given.desk.explain(question))
