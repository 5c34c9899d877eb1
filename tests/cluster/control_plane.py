"""A real Kubernetes without containers: etcd, API server, controller manager, scheduler; kwok plays the kubelets.

Admission, validation, roll-outs, budgets and garbage collection are Kubernetes' own. What no kubelet does is not there:
no image is pulled, no probe asked, no network policy enforced.
"""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cache import absent
from tests.real.children import Child, Children, free_port, until
from tests.tools.go import Unavailable, module, program
from tests.tools.programs import CLUSTER
from tests.tools.schemas import crd_files

_STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)
_KWOK = next(each for each in CLUSTER if "kwok" in each.packages)


class ControlPlane:
    """One cluster on the loopback interface.

    Args:
        children: Where its processes are started.
        folder: Empty; everything that it keeps.

    Attributes:
        kubeconfig: For helm and kubectl.
    """

    def __init__(self, children: Children, folder: Path) -> None:
        self._children = children
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._port = free_port()
        self.kubeconfig = folder / "kubeconfig"
        try:
            self._programs = {
                name: program(name)
                for name in (
                    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "helm",
                )
            }  # fmt: skip
            self._stages = module(_KWOK.module, _KWOK.version) / "kustomize" / "stage"
            self._crds = crd_files()
        except Unavailable as error:
            absent(str(error))
        if shutil.which("openssl") is None:
            absent("no openssl on the path: it makes the key that signs service accounts' tokens")

    def start(self) -> None:
        """Start everything, with two nodes and the CRDs of prometheus-operator and KEDA."""
        self._write_keys()
        etcd = self._start_etcd()
        self._start_api_server(etcd)
        self._start_company()
        self._make_nodes()
        for path in self._crds:
            self.kubectl("apply", "--server-side", "--filename", path)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

    def kubectl(self, *arguments: str | Path, given: str | None = None) -> str:
        """Run it; what it prints."""
        return self._run("kubectl", *arguments, given=given)

    def helm(self, *arguments: str | Path) -> str:
        """Run it; what it prints."""
        return self._run("helm", *arguments)

    def get(self, *arguments: str) -> list[Any]:
        """Objects."""
        found = json.loads(self.kubectl("get", *arguments, "--output", "json"))
        items: list[Any] = found.get("items", [found])
        return items

    def _run(self, name: str, *arguments: str | Path, given: str | None = None) -> str:
        command = [self._programs[name], "--kubeconfig", self.kubeconfig, *arguments]
        run = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=330)
        if run.returncode:
            raise ClusterRefused(f"{name} {' '.join(str(each) for each in arguments)}: {run.stderr}{run.stdout}")
        return run.stdout

    # ---- start ------------------------------------------------------------------------------------------------------

    def _write_keys(self) -> None:
        subprocess.run(
            ["openssl", "genrsa", "-out", self._folder / "sa.key", "2048"], check=True, capture_output=True, timeout=60
        )
        (self._folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n", encoding="utf-8")
        cluster = {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(document), encoding="utf-8")

    def _start_etcd(self) -> str:
        clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._start(
            "etcd", f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        )  # fmt: skip
        return clients

    def _start_api_server(self, etcd: str) -> None:
        key = self._folder / "sa.key"
        process = self._start(
            "kube-apiserver", f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'certs'}", f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
        )  # fmt: skip

        def is_ready() -> bool:
            process.must_live()
            request = urllib.request.Request(  # the token is ours, the address is the loopback's
                f"https://127.0.0.1:{self._port}/readyz", headers={"Authorization": f"Bearer {self._token}"}
            )
            unverified = ssl._create_unverified_context()  # noqa: S323  # it makes its own certificate
            try:
                with urllib.request.urlopen(request, context=unverified, timeout=5) as answer:
                    return int(answer.status) == 200
            except OSError:
                return False

        until("the API server is ready", is_ready)

    def _start_company(self) -> None:
        key = self._folder / "sa.key"
        for name, more in (
            ("kube-controller-manager", [f"--service-account-private-key-file={key}"]),
            ("kube-scheduler", []),
        ):
            place = self._folder / name
            self._start(
                name, f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}", f"--cert-dir={place}", *more,
            )  # fmt: skip
        texts = [(self._stages / path).read_text(encoding="utf-8") for path in _STAGES]
        texts.append(_completes_hooks(texts[3]))
        stages = self._folder / "stages.yaml"
        stages.write_text("\n---\n".join(texts), encoding="utf-8")
        self._start(
            "kwok", f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes=true", f"--config={stages}",
            "--server-address=",
            # By its default no lease is renewed: after 50 s a node seems lost, its pods are unready, and stay so.
            "--node-lease-duration-seconds=40",
        )  # fmt: skip

    def _make_nodes(self) -> None:
        for zone in ("a", "b"):
            labels = {"kubernetes.io/hostname": f"node-{zone}", "topology.kubernetes.io/zone": zone}
            labels["kubernetes.io/os"] = "linux"
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{zone}", "labels": labels}}
            self.kubectl("apply", "--filename", "-", given=json.dumps(node))
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")

    def _start(self, name: str, *arguments: str) -> Child:
        return self._children.start([self._programs[name], *arguments], self._folder / f"{name}.log")


class ClusterRefused(Exception):
    """What kubectl or helm said."""


def _completes_hooks(job_stage: str) -> str:
    """The stage that ends a Job's pods, for the pods of `helm test`: both run once and are done."""
    return (
        job_stage.replace("name: pod-complete", "name: helm-test-complete")
        .replace("'.metadata.ownerReferences.[].kind'", """'.metadata.annotations["helm.sh/hook"]'""")
        .replace("- 'Job'", "- 'test'")
    )
