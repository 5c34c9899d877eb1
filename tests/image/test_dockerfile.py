"""The Dockerfile as text: its linter, and what no linter asks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HADOLINT = Path(sys.executable).parent / "hadolint"


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    """What the linter says; the least remark is a failure."""
    command = [HADOLINT, "--failure-threshold", "style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def instructions(word: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{word} ")]


def test_the_linter_has_nothing_to_say() -> None:
    run = hadolint(DOCKERFILE)

    assert run.stdout == ""
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("rule", "breach"),
    [("DL3020", "ADD connector /x\n"), ("DL3042", "RUN pip install x==1\n"), ("DL3002", "USER root\n")],
)
def test_the_linter_would_have(rule: str, breach: str) -> None:
    run = hadolint(DOCKERFILE + breach)

    assert rule in run.stdout
    assert run.returncode != 0


def test_the_base_is_given_by_argument_in_every_stage() -> None:
    assert instructions("FROM") == ["${BUILD_IMAGE} AS build", "${BASE_IMAGE}"]
    for base in ("BASE_IMAGE", "BUILD_IMAGE"):
        assert DOCKERFILE.index(f"ARG {base}=") < DOCKERFILE.index("FROM ")


def test_the_user_is_a_number_and_the_entry_point_no_shell() -> None:
    assert instructions("USER") == ["10001:10001"]
    for word in ("ENTRYPOINT", "CMD"):
        (given,) = instructions(word)
        assert given.startswith("[")


def test_only_what_is_locked_is_installed() -> None:
    installs = re.findall(r"pip install ([^&]*)", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in each and "--requirement" in each for each in installs)


def test_no_secret_can_be_given_to_the_build() -> None:
    assert not re.search(r"(?i)^(ARG|ENV).*(key|secret|password|token)", DOCKERFILE, re.MULTILINE)


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = {rule.removeprefix("!").partition("/*")[0] for rule in rules if rule.startswith("!")}
    sources = [each.split()[0] for each in instructions("COPY") if not each.startswith("--from")]
    copied = {each.replace("${LOCK}", lock) for each in sources for lock in ("run", "tracing")}

    assert rules[0] == "*"
    assert let_in == copied
    assert all((ROOT / each).exists() for each in copied)
