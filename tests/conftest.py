"""What every test may count on."""

from hypothesis import settings

# The machine that runs the tests may be busy: a slow example is no failure, and the time limit per test stands
# anyway. A failing example prints the line that brings it back.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
