"""Schemas for kubeconform, without a network: Kubernetes' from a Python package, the operators' from their CRDs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

from tests.cache import digest, kept
from tests.tools.go import module

VERSIONS: Final = tuple(f"1.{minor}.0" for minor in range(27, 38))
"""From the chart's `kubeVersion` to the newest that there is."""

CRDS: Final = (
    (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_",
        ("podmonitors", "servicemonitors", "prometheusrules"),
    ),
    (
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "config/crd/bases/keda.sh_",
        ("scaledobjects", "triggerauthentications"),
    ),
)


def kubernetes_schemas() -> Path:
    """A folder with one folder a version, as kubeconform looks for them; strict: an unknown field is a fault."""
    source = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

    def make(folder: Path) -> None:
        for version in VERSIONS:
            place = folder / f"v{version}-standalone-strict"
            shutil.copytree(source / f"v{version}-local-strict", place)
            for path in place.glob("*.json"):
                # As published they refer to a folder and an address that are not here.
                text = path.read_text(encoding="utf-8").replace('"/api/_definitions.json#', '"_definitions.json#')
                path.write_text(text.replace('"$id": "', '"$comment": "'), encoding="utf-8")

    return kept(f"kubernetes-schemas-{_of(kubernetes_validate.__version__)}", make)


def crd_files() -> list[Path]:
    """The CRDs of prometheus-operator and KEDA, as their sources hold them.

    Raises:
        Unavailable: There is no Go, or no source.
    """
    return [module(path, version) / f"{prefix}{kind}.yaml" for path, version, prefix, kinds in CRDS for kind in kinds]


def crd_schemas() -> Path:
    """A folder with their schemas, as strict as the API server is.

    Raises:
        Unavailable: There is no Go, or no source.
    """

    def make(folder: Path) -> None:
        folder.mkdir()
        for path in crd_files():
            crd = yaml.safe_load(path.read_text(encoding="utf-8"))
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = _closed(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                name = f"{spec['names']['kind']}-{spec['group'].partition('.')[0]}-{version['name']}.json".lower()
                (folder / name).write_text(json.dumps(schema), encoding="utf-8")

    return kept(f"crd-schemas-{_of(repr(CRDS))}", make)


def _of(source: str) -> str:
    """What is made depends on its source, and on how this module makes it."""
    return digest(source + Path(__file__).read_text(encoding="utf-8"))


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused, and Kubernetes' own words said in JSON Schema's."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["properties"] = {name: _closed(value) for name, value in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return closed
