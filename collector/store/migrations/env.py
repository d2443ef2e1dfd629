"""What Alembic runs for each command: the revisions, in the transaction that `collector.store.migrating` began."""

from __future__ import annotations

from alembic import context

from collector.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.METADATA,
    # SQLite takes changes of tables into transactions too, once the driver's own ones are out of the way.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
