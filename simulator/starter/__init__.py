"""Scenarios to begin with, and what `esp-sim new` makes of them."""
