"""What a scenario would run, found out without running it."""
