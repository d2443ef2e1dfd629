"""Whoever asked for it is told over HTTP when an enrollment starts, fails, is stuck or finishes."""
