"""The commands of `esp-agent`, a module for each.

What builds an agent or draws a screen is imported where it is used, so that a headless endpoint never loads Textual and
`--help` answers at once.
"""
