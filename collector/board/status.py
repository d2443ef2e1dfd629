"""The enrollment status page as one pane: figures and tables, filtered, sorted and laid out for the terminal's size."""

from __future__ import annotations

from typing import Final

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.widgets import DataTable, Static

from collector.board import rows
from collector.board.panels import Figures, Listing, Panel
from collector.board.ports import BoardSnapshot

TABLES: Final = ("active", "failures", "platforms", "profiles")
OF_DEVICES: Final = ("active", "failures")


class StatusPane(Vertical):
    """It owns nothing but what is looked at."""

    # Everything stands below the board, because a device's screen has the same names for parts of its own.
    DEFAULT_CSS = """
    StatusPane { height: 1fr; }
    StatusPane Figures { margin: 1 0 1 1; }
    StatusPane #panels { height: 1fr; }
    StatusPane #panels Panel { display: none; }
    StatusPane #panels #lower { display: none; height: 7; }
    StatusPane #panels #failure { display: none; height: 3; padding: 0 1; color: $foreground 70%; }
    StatusPane #panels.-active #active { display: block; }
    StatusPane #panels.-failures #failures { display: block; }
    StatusPane #panels.-failures #failure { display: block; }
    StatusPane #panels.-failures #lower { display: block; }
    StatusPane #panels.-failures #reasons { display: block; }
    StatusPane #panels.-platforms #lower { display: block; height: 1fr; }
    StatusPane #panels.-platforms #platforms { display: block; }
    StatusPane #panels.-profiles #profiles { display: block; }
    StatusPane #panels.-wide Panel { display: block; }
    StatusPane #panels.-wide #active { margin-bottom: 1; }
    StatusPane #panels.-wide #failures { height: 6; }
    StatusPane #panels.-wide #failure { display: block; }
    StatusPane #panels.-wide #lower { display: block; height: 8; }
    StatusPane #panels.-wide #platforms { width: 2fr; }
    StatusPane #panels.-wide #reasons { width: 1fr; }
    StatusPane #panels.-wide #profiles { height: 5; }
    """

    def __init__(self) -> None:
        super().__init__(id="status")
        self._latest: BoardSnapshot | None = None
        self._view = TABLES[0]
        self._wide = False
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Figures above tables."""
        yield Figures()
        with Container(id="panels"):
            yield Panel("Active Enrollments", "Nothing is enrolling now.", rows.ACTIVE, "active")
            yield Panel("Recent Failures", "Nothing has failed.", rows.FAILURES, "failures")
            yield Static(id="failure")
            with Horizontal(id="lower"):
                yield Panel("Enrollment by Platform", "", rows.PLATFORMS, "platforms")
                yield Panel(
                    "Common Failure Reasons",
                    "No attempt failed in 7 days.",
                    rows.REASONS,
                    "reasons",
                )
            yield Panel("ESP Profiles", "There is no profile.", rows.PROFILES, "profiles")

    def lay_out(self, view: str, *, wide: bool) -> None:
        """Everything at once where there is room, one table at a time where there is not."""
        self._view, self._wide = view, wide
        panels = self.query_one("#panels")
        panels.set_class(wide, "-wide")
        self.query_one(Figures).set_class(wide, "-wide")
        self._panel("active").listing.set_columns(rows.ACTIVE_WIDE if wide else rows.ACTIVE)
        for name in TABLES:
            panels.set_class(name == view and not wide, f"-{name}")
        self._draw()
        self.listing.focus()

    def show(self, snapshot: BoardSnapshot) -> None:
        """Draw the newest page."""
        self._latest = snapshot
        self._draw()

    def filter(self, wanted: str) -> None:
        """Only the devices that have all of these words."""
        self._wanted = wanted
        self._draw()

    @property
    def listing(self) -> Listing:
        """The table that keys go to."""
        focused = self.screen.focused
        in_pane = isinstance(focused, Listing) and focused in self.query(Listing)
        if in_pane and self._wide:
            assert isinstance(focused, Listing), "asked one line above"
            return focused
        return self._panel(self._view).listing

    @property
    def device(self) -> str | None:
        """The device under the cursor, where the table is of devices."""
        of_devices = {self._panel(name).listing for name in OF_DEVICES}
        return self.listing.device if self.listing in of_devices else None

    def _panel(self, name: str) -> Panel:
        return self.query_one(f"#{name}", Panel)

    def _draw(self) -> None:
        snapshot = self._latest
        if snapshot is None:
            return
        self.query_one(Figures).show(snapshot.status.overview, stuck=len(snapshot.stuck))
        bar_cells = rows.BAR_CELLS_WIDE if self._wide else rows.BAR_CELLS
        active, failures = rows.active_rows(snapshot, bar_cells), rows.failure_rows(snapshot)
        self._panel("active").show(active, counted=True, wanted=self._wanted)
        self._panel("failures").show(failures, counted=True, wanted=self._wanted)
        self._panel("platforms").show(rows.platform_rows(snapshot))
        self._panel("reasons").show(rows.reason_rows(snapshot))
        self._panel("profiles").show(rows.profile_rows(snapshot))
        self._tell_failure()

    def _tell_failure(self) -> None:
        """The failure under the cursor in full."""
        chosen = self._panel("failures").listing.device
        recent = self._latest.failures.recent if self._latest else ()
        told = [row for row in recent if row.device == chosen]
        sentence = rows.failure_sentence(told[0]) if told else ""
        self.query_one("#failure", Static).update(Text(sentence, overflow="ellipsis"))

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """The cursor moved."""
        self._tell_failure()
