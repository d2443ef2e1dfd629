"""The board's widgets: four figures, and tables that change in place."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.coordinate import Coordinate
from textual.events import Resize
from textual.widgets import DataTable, Static

from collector.board.arranging import Order, matching
from collector.board.rows import Column, Row, widths
from collector.pages import page


class Figures(Horizontal):
    """The overview: enrolled, in progress, pending, failed."""

    DEFAULT_CSS = """
    Figures { height: 2; }
    Figures.-wide { height: 3; }
    Figures > Static { width: 1fr; height: 1fr; padding: 0 1; }
    Figures > #enrolled { border-left: thick $success; }
    Figures > #in_progress { border-left: thick $primary; }
    Figures > #pending { border-left: thick $warning; }
    Figures > #failed { border-left: thick $error; }
    """

    _CAPTIONS = (
        ("enrolled", "Enrolled", "Successfully managed"),
        ("in_progress", "In Progress", "Currently enrolling"),
        ("pending", "Pending", "Waiting to start"),
        ("failed", "Failed", "Needs attention"),
    )

    def compose(self) -> ComposeResult:
        """Four boxes; the captions below show where there is room."""
        for name, title, caption in self._CAPTIONS:
            yield Static(_figure("…", title, caption), id=name)

    def show(self, figures: page.OverviewFigures, *, stuck: int = 0) -> None:
        """Draw the newest figures; `stuck` devices are among those in progress."""
        for name, title, caption in self._CAPTIONS:
            value = f"{getattr(figures, name):,}"
            if name == "in_progress" and stuck:
                value += f"  ! {stuck:,} stuck"
            self.query_one(f"#{name}", Static).update(_figure(value, title, caption))


def _figure(value: str, title: str, caption: str) -> Text:
    return Text.assemble((value, "bold"), "\n", title, "\n", (caption, "dim"))


class Listing(DataTable[Text]):
    """A table that changes in place: no row moves while its neighbours stay, and the cursor follows its row."""

    DEFAULT_CSS = """
    Listing { height: 1fr; background: $background; background-tint: $background 0%; scrollbar-size-vertical: 1; overflow-x: hidden; }
    Listing > .datatable--header { background: $background; color: $foreground 70%; text-style: none; }
    Listing > .datatable--cursor { background: $panel; color: $foreground; }
    Listing:focus { background-tint: $background 0%; }
    Listing:focus > .datatable--cursor { background: $primary 40%; color: $foreground; }
    Listing > .datatable--hover { background: $background; }
    """

    def __init__(self, columns: Sequence[Column], widget_id: str) -> None:
        super().__init__(id=widget_id, cursor_type="row", zebra_stripes=False)
        self._columns = tuple(columns)
        self._given: Sequence[Row] = ()
        self._rows: list[Row] = []
        self._fitted = 0
        self._order = Order()

    @property
    def order(self) -> Order:
        """By which column it is sorted."""
        return self._order

    def sort_by(self, order: Order) -> None:
        """Another order, for these rows and those that come."""
        self._order = order
        self._refill(order.sorted(self._given), new_columns=True)

    @property
    def headings(self) -> tuple[Column, ...]:
        """Its columns."""
        return self._columns

    def on_resize(self, event: Resize) -> None:
        """Columns fill the width; the rows stay what they are."""
        available = event.size.width - self.scrollbar_size_vertical
        if available != self._fitted:
            self._fitted = available
            self._refill(self._rows, new_columns=True)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Take other columns, for rows that come next."""
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self._refill([], new_columns=True)

    def show(self, rows: Sequence[Row]) -> None:
        """Draw these rows."""
        self._given = rows
        fresh = self._order.sorted(rows)
        if [row.key for row in fresh] == [row.key for row in self._rows]:
            self._update(fresh)
        else:
            self._refill(fresh)

    @property
    def device(self) -> str | None:
        """The device under the cursor."""
        if not self._rows or not self.is_valid_row_index(self.cursor_row):
            return None
        return self._rows[self.cursor_row].device

    def _update(self, fresh: list[Row]) -> None:
        for index, (old, new) in enumerate(zip(self._rows, fresh, strict=True)):
            if self.row_count <= index:
                break
            for column, (before, after) in enumerate(zip(old.cells, new.cells, strict=True)):
                if before != after:
                    self.update_cell_at(Coordinate(index, column), after)
        self._rows = fresh

    def _refill(self, fresh: list[Row], *, new_columns: bool = False) -> None:
        held = self._rows[self.cursor_row].key if 0 <= self.cursor_row < len(self._rows) else None
        scrolled = self.scroll_y
        self.clear(columns=new_columns)
        if new_columns:
            sizes = widths(self._columns, self._fitted)
            for index, (column, size) in enumerate(zip(self._columns, sizes, strict=True)):
                head = self._order.head(index, column, size)
                self.add_column(head.rjust(column.least) if column.figures else head, width=size)
        self._rows = fresh
        if not self.columns:
            return
        for row in fresh:
            self.add_row(*row.cells, key=row.key)
        keys = [row.key for row in fresh]
        if held in keys:
            self.move_cursor(row=keys.index(held), animate=False, scroll=False)
        self.scroll_to(y=scrolled, animate=False, force=True)


class Panel(Vertical):
    """A titled table."""

    DEFAULT_CSS = """
    Panel { height: 1fr; padding: 0; }
    Panel > .title { height: 1; color: $primary; text-style: bold; padding: 0 1; }
    Panel > .empty { height: 1; color: $foreground 70%; padding: 0 1; display: none; }
    Panel.-empty > .empty { display: block; }
    Panel.-empty > Listing { display: none; }
    """

    def __init__(self, title: str, empty: str, columns: Sequence[Column], widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._title = title
        self._empty = empty
        self._listing = Listing(columns, f"{widget_id}-table")

    def compose(self) -> ComposeResult:
        """Title, what to say when there is nothing, table."""
        yield Static(self._title, classes="title")
        yield Static(self._empty, classes="empty")
        yield self._listing

    @property
    def listing(self) -> Listing:
        """The table."""
        return self._listing

    def show(self, rows: Sequence[Row], *, counted: bool = False, wanted: str = "") -> None:
        """Draw these rows; `counted` puts their number into the title, `wanted` leaves out those without its words."""
        shown = matching(rows, wanted)
        self.set_class(not shown, "-empty")
        title = self._title
        if wanted:
            title = f"{title}  {len(shown)} of {len(rows)} with “{wanted}”"
        elif counted and rows:
            title = f"{title}  {len(rows)}"
        self.query_one(".title", Static).update(Text(title))
        empty = "Nothing has all of these words." if rows else self._empty
        self.query_one(".empty", Static).update(Text(empty))
        self._listing.show(shown)
