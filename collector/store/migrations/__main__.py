"""`python -m collector.store.migrations NAME` writes the next revision from what `collector.store.schema` has and the last one has not."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from collector.store.database import Database
from collector.store.migrating import config_for, head


def main() -> None:
    """Write it; whoever changed the schema looks at it, and names it in `schema.REVISION`."""
    (name,) = sys.argv[1:]
    number = f"v{int(head().removeprefix('v')) + 1:03d}"
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'store.sqlite'}")
        with database.writing() as connection:
            config = config_for(connection)
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            command.upgrade(config, "head")
            command.revision(config, name, autogenerate=True, rev_id=number)
        database.close()


if __name__ == "__main__":
    main()
