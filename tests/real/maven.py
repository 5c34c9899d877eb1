"""Real parts as Maven artifacts: fetched once, kept in the user's cache, safe with several test processes at a time."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.cache import FOLDER, absent, digest, kept

KAFKA_POM = Path(__file__).parents[1] / "kafka" / "pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
GET = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"  # newer ones want a parent that was never published
APICURIO = "io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all"

_JAVA_NEEDED = 17
_FETCH_S = 240


def kafka_jars() -> Path:
    """A folder with the jars of Apache Kafka."""
    _need_java()

    def fetch(folder: Path) -> None:
        _maven("-f", str(KAFKA_POM), COPY, f"-DoutputDirectory={folder}", "-DincludeScope=runtime")

    return kept(f"kafka-{digest(KAFKA_POM.read_text(encoding='utf-8'))}", fetch)


def apicurio_jar() -> Path:
    """The jar that runs Apicurio Registry."""
    _need_java()

    def fetch(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=FOLDER) as repository:
            _maven(GET, f"-Dartifact={APICURIO}", "-Dtransitive=false", f"-Dmaven.repo.local={repository}")
            (archive,) = Path(repository).rglob("apicurio-registry-app-*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")

    (jar,) = kept(f"apicurio-{digest(APICURIO)}", fetch).rglob("*-runner.jar")
    return jar


def _need_java() -> None:
    if shutil.which("java") is None:
        absent("no java on the path: Apache Kafka and Apicurio Registry need a JVM, 17 or newer")
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < _JAVA_NEEDED:
        absent(f"Apache Kafka and Apicurio Registry need Java {_JAVA_NEEDED} or newer; `java -version` says {told!r}")


def _maven(*arguments: str) -> None:
    if shutil.which("mvn") is None:
        absent("no mvn on the path: Maven fetches Apache Kafka and Apicurio Registry")
    try:
        run = subprocess.run(
            ["mvn", "-q", "-B", *arguments], capture_output=True, text=True, check=False, timeout=_FETCH_S
        )
    except subprocess.TimeoutExpired:
        absent(f"Maven did not fetch {arguments[-1]} within {_FETCH_S} s")
    if run.returncode:
        absent(f"Maven could not fetch the artifact: {(run.stdout or run.stderr)[-400:]}")
