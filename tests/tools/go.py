"""Go programs and modules, had through the Go that is there and kept in the tests' cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cache import FOLDER, digest, kept
from tests.tools.programs import CLUSTER, TESTED, Program

BUILD_S = 1_800
"""The whole of Kubernetes needs 8 minutes on two idle cores."""


class Unavailable(Exception):
    """It cannot be had here; the text says why, and what to do."""


def program(name: str) -> Path:
    """The program of that name; built, if it is not in the cache.

    Raises:
        Unavailable: There is no Go, no source, or it does not compile.
    """
    wanted = next(each for each in (*TESTED, *CLUSTER) if name in each.packages)
    return _built(wanted) / name


def main_program(name: str, module: str, version: str, source: Path) -> Path:
    """The program that this main file makes of a module; built, if it is not in the cache.

    Raises:
        Unavailable: There is no Go, no source, or it does not compile.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=FOLDER) as making:
            shutil.copy(source, making)
            _go(["mod", "init", "example.invalid/tool"], cwd=Path(making))
            _go(["mod", "edit", f"-require={module}@{version}"], cwd=Path(making))
            _go(["mod", "tidy"], cwd=Path(making))
            _go(["build", "-ldflags=-s -w", "-o", str(folder / name), "."], cwd=Path(making))

    return kept(f"{name}-{version}-{digest(module + source.read_text(encoding='utf-8'))}", build) / name


def module(path: str, version: str) -> Path:
    """The folder with the source of a module.

    Raises:
        Unavailable: There is no Go, or no source.
    """
    told = json.loads(_go(["mod", "download", "-json", f"{path}@{version}"], cwd=Path.cwd()))
    return Path(told["Dir"])


def _built(wanted: Program) -> Path:
    first = next(iter(wanted.packages))

    def build(folder: Path) -> None:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=FOLDER) as making:
            _build(wanted, Path(making), folder)
        print(f"built {', '.join(wanted.packages)} in {time.monotonic() - began:.0f} s")  # noqa: T201  # a stage's time

    return kept(f"{first}-{wanted.version}-{digest(repr(wanted))}", build)


def _build(wanted: Program, making: Path, folder: Path) -> None:
    """In a module of its own: `go install` refuses modules with replacements, and a shared one would mix versions."""
    packages = {name: f"{wanted.module}/{below}".rstrip("/") for name, below in wanted.packages.items()}
    _go(["mod", "init", "example.invalid/tool"], cwd=making)
    _go(["mod", "edit", f"-require={wanted.module}@{wanted.version}", *_replacements(wanted, making)], cwd=making)
    _go(["get", *(f"{package}@{wanted.version}" for package in packages.values())], cwd=making)
    linker = ["-s", "-w", *(f"-X {each}" for each in wanted.says)]
    for name, package in packages.items():
        tags = [f"-tags={','.join(wanted.tags)}"] if wanted.tags else []
        _go(["build", *tags, f"-ldflags={' '.join(linker)}", "-o", str(folder / name), package], cwd=making)


def _replacements(wanted: Program, making: Path) -> list[str]:
    if wanted.staging is None:
        return []
    told = json.loads(_go(["mod", "download", "-json", f"{wanted.module}@{wanted.version}"], cwd=making))
    staged = re.findall(r"^\s*(\S+) => \./staging/", Path(told["GoMod"]).read_text(encoding="utf-8"), re.MULTILINE)
    return [f"-replace={each}={each}@{wanted.staging}" for each in staged]


def _go(arguments: list[str], cwd: Path) -> str:
    if shutil.which("go") is None:
        raise Unavailable(
            "no go on the path: helm, kubeconform, promtool, Prometheus and Bento are built by Go, 1.26 or newer"
        )
    try:
        run = subprocess.run(
            ["go", *arguments],
            cwd=cwd,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_S,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`go {arguments[0]} {arguments[-1]}` did not end within {BUILD_S} s") from None
    if run.returncode:
        raise Unavailable(f"`go {arguments[0]} {arguments[-1]}` failed: {(run.stderr or run.stdout)[-400:]}")
    return run.stdout


def _environment() -> Mapping[str, str]:
    """The Go that is there, never a newer one fetched behind one's back; no module or workspace around us counts."""
    flags = f"{os.environ.get('GOFLAGS', '')} -mod=mod".strip()
    return {**os.environ, "GOFLAGS": flags, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
