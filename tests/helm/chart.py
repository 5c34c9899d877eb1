"""The chart as Helm renders it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "helm"
MATRIX: Final = sorted((CHART / "ci").glob("*-values.yaml"))


class ChartRefused(Exception):
    """What Helm said."""


class _Strict(yaml.SafeLoader):
    """YAML in which a key stands once: PyYAML would keep the last, where the API server refuses the object."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice among {keys}"
        return super().construct_mapping(node, deep)


class Rendered:
    """The objects of one rendering.

    Attributes:
        text: As Helm printed it.
        objects: Every object.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[Any] = [each for each in yaml.load_all(text, _Strict) if each]

    def all(self, kind: str) -> list[Any]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> Any:
        (found,) = self.all(kind)
        return found

    @property
    def workload(self) -> Any:
        (found,) = self.all("Deployment") + self.all("StatefulSet")
        return found

    @property
    def pod(self) -> Any:
        return self.workload["spec"]["template"]["spec"]

    @property
    def container(self) -> Any:
        return next(each for each in self.pod["containers"] if each["name"] == "connector")

    @property
    def configuration(self) -> Any:
        """The connector's, as it will read it."""
        maps = {each["metadata"]["name"]: each["data"] for each in self.all("ConfigMap") if "data" in each}
        return yaml.safe_load(next(data["connector.yaml"] for data in maps.values() if "connector.yaml" in data))


class Chart:
    """Renders it.

    Args:
        helm: The program.
        folder: Where the chart is.
    """

    def __init__(self, helm: Path, folder: Path = CHART) -> None:
        self.helm = helm
        self._folder = folder

    def render(
        self,
        values: Mapping[str, Any] | Path | None = None,
        *,
        version: str = "1.31.0",
        arguments: Sequence[str] = (),
        release: str = "rel",
    ) -> Rendered:
        """Render for a version of Kubernetes.

        Raises:
            ChartRefused: The values are wrong, or the chart is.
        """
        common = ["--kube-version", version, "--namespace", "crm", *arguments]
        return Rendered(self._run(["template", release, str(self._folder), *common], values))

    def notes(self, values: Mapping[str, Any] | None = None) -> str:
        """What is read after an installation, in one line: `helm template` leaves it out, so here it is an object."""
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(self._folder, Path(folder) / "chart")
            (copy / "templates" / "NOTES.txt").rename(copy / "NOTES.txt")
            told = '{kind: Notes, text: {{ tpl (.Files.Get "NOTES.txt") . | quote }}}'
            (copy / "templates" / "notes.yaml").write_text(told, encoding="utf-8")
            arguments = ["template", "rel", str(copy), "--kube-version", "1.31.0", "--namespace", "crm"]
            rendered = Rendered(self._run(arguments, values))
        return " ".join(str(rendered.one("Notes")["text"]).split())

    def lint(self, values: Path, version: str) -> None:
        """`helm lint --strict`.

        Raises:
            ChartRefused: With its findings.
        """
        self._run(["lint", "--strict", str(self._folder), "--kube-version", version], values)

    def _run(self, arguments: list[str], values: Mapping[str, Any] | Path | None) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
            if isinstance(values, Path):
                arguments = [*arguments, "--values", str(values)]
            elif values is not None:
                yaml.safe_dump(dict(values), file)
                file.flush()
                arguments = [*arguments, "--values", file.name]
            nobody = {**os.environ, "KUBECONFIG": os.devnull}  # whatever cluster somebody has at hand is not asked
            run = subprocess.run([self.helm, *arguments], env=nobody, capture_output=True, text=True, check=False)
        if run.returncode:
            raise ChartRefused(run.stderr + run.stdout)
        return run.stdout
