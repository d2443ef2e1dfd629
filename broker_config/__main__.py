"""`python -m broker_config`, so that other programs can start a broker without knowing where scripts are."""

from broker_config.cli import main

main()
