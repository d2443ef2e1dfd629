"""The store: what arrived is kept exactly once and in order, for one collector or several."""
