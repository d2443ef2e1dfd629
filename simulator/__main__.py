"""The door of `esp-sim`: says what to install where its libraries are missing; also `python -m simulator`."""

from __future__ import annotations

import sys

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """The program."""
    try:
        from simulator.cli import main as program  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"esp-sim: the library {error.name} is missing; "
            "install enrollment-agent[simulator], an endpoint alone does without it\n"
        )
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    program()


if __name__ == "__main__":
    main()
