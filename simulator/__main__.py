"""Lets `python -m simulator` be the program `esp-sim`."""

from simulator.cli import main

main()
