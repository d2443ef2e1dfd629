"""`python -m agent` is `esp-agent`."""

from agent.cli import main

main()
