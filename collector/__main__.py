"""The door of `esp-collector`: says what to install where its libraries are missing; also `python -m collector`."""

from __future__ import annotations

import sys

EXIT_USAGE = 2


def main() -> None:
    """The program."""
    try:
        from collector.cli import main as program  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"esp-collector: the library {error.name} is missing; "
            "install enrollment-agent[collector], an endpoint alone does without it\n"
        )
        sys.exit(EXIT_USAGE)
    program()


if __name__ == "__main__":
    main()
