"""The image, built without a daemon and run without a container engine, through its mount.

buildah (Debian's) builds it on a base that debootstrap makes: no registry is asked for anything. What runs is a chroot
into the mounted image in a mount namespace of its own, as the image's user, on a read-only root with a `/tmp` in
memory, as the chart's security context has it. Signals reach the process itself, which `buildah run` would kill.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.cache import absent, digest, kept

ROOT: Final = Path(__file__).parents[2]

_SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,ca-certificates"
BUILD_PACKAGES: Final = f"{PACKAGES},gcc,libc6-dev,python3-dev"
_PYTHON: Final = "3.11"
"""Of that suite."""

_NEEDED: Final = ("buildah", "debootstrap", "unshare", "chroot", "mount")
_POLICY: Final = {"default": [{"type": "insecureAcceptAnything"}]}

# $1: the mount; $2: a folder that it shall see under its own path; the rest: user, environment and command.
_INSIDE: Final = """
set -eu
root=$1; folder=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"
exec chroot --userspec="$1" "$root" /usr/bin/env -i "TEST_BRAZE_KEY=${TEST_BRAZE_KEY:-}" "${@:2}"
"""


def base_image(packages: str) -> Path:
    """An archive of a small Debian with these; made once."""
    missing = [each for each in _NEEDED if shutil.which(each) is None]
    if missing:
        absent(
            f"{', '.join(missing)} not on the path: the image is built by Debian's buildah on a base that debootstrap"
            " makes (apt-get install --no-install-recommends buildah debootstrap)"
        )
    if os.geteuid():
        absent("the image is built and mounted by root; this is another user")

    def make(folder: Path) -> None:
        folder.mkdir()
        tree = folder / "tree"
        try:
            _done(["debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, tree])
        except subprocess.CalledProcessError as error:
            absent(f"debootstrap could not make the base: {(error.stderr or error.stdout)[-400:]}")
        for archive in (tree / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        _done(["tar", "-C", tree, "-cf", folder / "base.tar", "."])
        shutil.rmtree(tree)

    return kept(f"debian-{_SUITE}-{digest(packages)}", make) / "base.tar"


def wheels() -> Path:
    """What the lock names, for the base's Python; fetched once, outside of the build."""
    lock = ROOT / "requirements" / "run.txt"

    def fetch(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"]
        try:
            _done([*command, "--python-version", _PYTHON, "--requirement", lock, "--dest", folder])
        except subprocess.CalledProcessError as error:
            absent(f"pip could not fetch the locked wheels: {error.stderr[-400:]}")

    return kept(f"wheels-{_PYTHON}-{digest(lock.read_text(encoding='utf-8'))}", fetch)


class Image:
    """The built image, mounted.

    Args:
        folder: Empty; holds buildah's store, so it goes with everything in it.
        version: Build argument.
        revision: Build argument.
    """

    def __init__(self, folder: Path, version: str, revision: str) -> None:
        self._folder = folder
        self._policy = folder / "policy.json"
        self._policy.write_text(json.dumps(_POLICY), encoding="utf-8")
        base = folder / "Dockerfile.base"
        base.write_text("FROM scratch\nADD base.tar /\n", encoding="utf-8")
        for name, packages in (("base", PACKAGES), ("build", BUILD_PACKAGES)):
            self._bud(f"localhost/{name}", base_image(packages).parent, "--file", base)
        # pip is sent to the wheels by a file that only the build sees: the Dockerfile is the one that is released.
        (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
        seen = ["-v", f"{wheels()}:/wheels:ro", "-v", f"{folder / 'pip.conf'}:/etc/pip.conf:ro"]
        arguments = {
            "BASE_IMAGE": "localhost/base",
            "BUILD_IMAGE": "localhost/build",
            "VERSION": version,
            "REVISION": revision,
        }
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        self._bud("localhost/aiq-braze", ROOT, *seen, *given)
        container = self._buildah("from", f"--signature-policy={self._policy}", "localhost/aiq-braze").strip()
        self.mount = Path(self._buildah("mount", container).strip())

    @property
    def config(self) -> dict[str, Any]:
        """What the image says of itself."""
        told = json.loads(self._buildah("inspect", "--type", "image", "localhost/aiq-braze"))
        config: dict[str, Any] = told["OCIv1"]["config"]
        return config

    @property
    def layers(self) -> int:
        told = json.loads(self._buildah("inspect", "--type", "image", "localhost/aiq-braze"))
        return len(told["OCIv1"]["rootfs"]["diff_ids"])

    def command(self, folder: Path, *program: str) -> Sequence[str | Path]:
        """What starts a program in it, by default the entry point; it sees `folder` under its own path."""
        config = self.config
        inside = [config["User"], *config["Env"], *(program or config["Entrypoint"])]
        return ["unshare", "--mount", "bash", "-c", _INSIDE, "inside", self.mount, folder, *inside]

    def close(self) -> None:
        """Let go of the mount; the rest goes with the folder."""
        self._buildah("umount", "--all")

    def _bud(self, tag: str, context: Path, *more: str | Path) -> None:
        shared = ["--isolation", "chroot", "--network", "host", "--signature-policy", self._policy]
        self._buildah("bud", *shared, *more, "-t", tag, context)

    def _buildah(self, verb: str, *arguments: str | Path) -> str:
        places = ["--root", self._folder / "store", "--runroot", self._folder / "run", "--storage-driver", "vfs"]
        return _done(["buildah", *places, verb, *arguments])


def _done(command: Sequence[str | Path]) -> str:
    run = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.stderr.write(run.stderr[-4000:])  # pytest shows it with the failure
        run.check_returncode()
    return run.stdout
