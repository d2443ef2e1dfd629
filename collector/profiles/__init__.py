"""ESP profiles and what goes with them: which one a device gets, how they change, and whether they fit."""
