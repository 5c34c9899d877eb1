"""The Go programs that tests start, each pinned: where its source is, and what it must be told when it is built.

All are built from source by the Go that is there: no system package, no download of a binary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Program:
    """Programs of one Go module, built together.

    Attributes:
        module: The module's path.
        version: Exact; nothing here is ever "the latest".
        packages: Where each program's source is below the module, by the program's name.
        says: Linker settings `-X`: a program built this way knows no version of its own, and some ask for one.
        tags: Build tags.
        staging: The module's `go.mod` replaces modules by folders beside it (Kubernetes does): they are taken from
            where they are published, under this version.
    """

    module: str
    version: str
    packages: Mapping[str, str]
    says: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    staging: str | None = None


KUBERNETES: Final = "1.37.2"
"""Of the cluster in `make test-cluster`; the chart is made for 1.27 and later."""

_KUBERNETES_VERSION = "k8s.io/component-base/version"

TESTED: Final = (
    # Without a version of Kubernetes to render for, helm believes in 1.20 and refuses any chart of today.
    Program(
        "helm.sh/helm/v3",
        "v3.22.0",
        {"helm": "cmd/helm"},
        says=(
            "helm.sh/helm/v3/internal/version.version=v3.22.0",
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=31",
            "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=31",
        ),
    ),
    Program("github.com/yannh/kubeconform", "v0.8.0", {"kubeconform": "cmd/kubeconform"}),
    Program("github.com/rhysd/actionlint", "v1.7.12", {"actionlint": "cmd/actionlint"}),
    # One build: the two share nearly everything. Without the discovery of cloud services it takes a third of the time.
    Program(
        "github.com/prometheus/prometheus",
        "v0.316.0",
        {"promtool": "cmd/promtool", "prometheus": "cmd/prometheus"},
        tags=("remove_all_sd",),
    ),
)
"""For `make test`."""

CLUSTER: Final = (
    Program("go.etcd.io/etcd/server/v3", "v3.6.16", {"etcd": ""}),
    Program(
        "k8s.io/kubernetes",
        f"v{KUBERNETES}",
        {name: f"cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
        says=(
            f"{_KUBERNETES_VERSION}.gitVersion=v{KUBERNETES}",
            f"{_KUBERNETES_VERSION}.gitMajor={KUBERNETES.split('.')[0]}",
            f"{_KUBERNETES_VERSION}.gitMinor={KUBERNETES.split('.')[1]}",
        ),
        staging=f"v0.{KUBERNETES.partition('.')[2]}",
    ),
    Program("sigs.k8s.io/kwok", "v0.8.0", {"kwok": "cmd/kwok"}),
)
"""For `make test-cluster`, beside helm."""
