"""Compiles the express lane in place: `python -m connector.express.build`, with the machine's own C compiler.

Edge. It needs `cc` (or what CC names) and the headers of the Python that runs this; CFLAGS are added to ours.
`--if-possible` makes their absence no error: the connector works without.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from connector.express.program import SOURCES, source_digest

TARGET: Final = SOURCES[0].with_suffix(sysconfig.get_config_var("EXT_SUFFIX") or ".so")


class CannotBuild(Exception):
    """What is missing, and what to do about it."""


def build(target: Path = TARGET) -> None:
    """Compile it.

    Raises:
        CannotBuild: There is no compiler, no header, or the compiler fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise CannotBuild(f"no C compiler: {compiler[0]} is not on the PATH (install gcc or clang, or set CC)")
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        raise CannotBuild("no Python.h: install the headers of this Python (python3-dev)")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")  # never half a library where another process imports it
    flags = ["-O3", "-fPIC", "-shared", f"-I{include}", f'-DSOURCE_DIGEST="{source_digest()}"']
    if sys.platform == "darwin":
        flags += ["-undefined", "dynamic_lookup"]
    flags += shlex.split(os.environ.get("CFLAGS", ""))
    command = [*compiler, *flags, str(SOURCES[0]), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the operator's compiler
    if done.returncode:
        fresh.unlink(missing_ok=True)
        raise CannotBuild(f"{compiler[0]} fails:\n{done.stderr.strip()}")
    fresh.replace(target)


def main(arguments: list[str]) -> int:
    """Build, and say how it went."""
    try:
        build()
    except CannotBuild as reason:
        sys.stderr.write(f"express lane not compiled, the ordinary way is taken instead: {reason}\n")
        return 0 if "--if-possible" in arguments else 1
    sys.stdout.write(f"express lane compiled: {TARGET.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
