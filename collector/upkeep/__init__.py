"""Keeping a collector's data: where it is, copies of it, and how long it stays."""
