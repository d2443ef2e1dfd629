"""How a database of any earlier version becomes one of this: one revision a change, run by `collector.store.migrating`."""
