"""The commands of `esp-sim` that need no real agent: what each is given and what it prints."""
