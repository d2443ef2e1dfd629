"""What the API answers, the board draws and the command line prints: as data, as tables and as text."""
