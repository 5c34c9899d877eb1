"""Build what is not there yet, with the time that it took: `python -m tests.tools [cluster]`.

`make test` does it before the tests, so that no test's time limit has to hold a compiler. What cannot be built is said
and left to the tests, which skip with the same reason (or fail, under REQUIRE_ALL=1).
"""

from __future__ import annotations

import sys

from tests.tools.go import Unavailable, program
from tests.tools.programs import CLUSTER, TESTED


def main() -> None:
    """Everything of `make test`, and with the word `cluster` what `make test-cluster` needs beside it."""
    wanted = (*TESTED, *CLUSTER) if "cluster" in sys.argv[1:] else TESTED
    for each in wanted:
        for name in each.packages:
            try:
                program(name)
            except Unavailable as error:
                print(f"{name} cannot be had: {error}")  # noqa: T201  # a command's output


if __name__ == "__main__":
    main()
