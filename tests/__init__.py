"""The tests are a package, so that no library's own `tests` takes the name."""
