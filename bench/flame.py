"""`python -m bench.flame`: where the connector's processor time goes, as a flame graph (`docs/flame-graph.svg`).

The connector works the benchmark's topics off twice, on a core of its own. The first time nobody looks, and the system
tells what each thread used; the second time py-spy reads its stacks from outside (as root, or with `ptrace_scope` 0).
The stacks divide what their thread used the first time: being looked at costs every thread something, and librdkafka's
own threads have no Python stack at all. Nothing in the connector knows of it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bench import comparison, contestants
from bench.site import ROOT, Site, opened
from bench.workload import Workload
from tests.cache import kept
from tests.real.children import until

PY_SPY: Final = "py-spy==0.4.3"
RATE: Final = 250
LOOP: Final = "event loop's thread"
KAFKA: Final = "Kafka thread"
LIBRDKAFKA: Final = "librdkafka's own threads"

_CLOCK: Final = "connector.app:SystemClock.cpu"

Stack = tuple[str, ...]
"""Frames, the thread first; each `module:function`."""

STAGES: Final = ("poll", "decode", "map", "pack", "http", "settle", "commit", "loop", "librdkafka")

_BY_FUNCTION: Final = {
    "Translator.decode": "decode",
    "Translator.map": "map",
    "Batcher.add_attributes": "pack",
    "Batcher.add_events": "pack",
    "CampaignBatcher.add": "pack",
    "Pipeline._send": "pack",
    "Request.body": "pack",
    "BrazeClient.attempt": "http",
    "Settlement.conclude": "settle",
    "Settlement.skip": "settle",
    "Settlement.reject": "settle",
    "Exchange.attempt": "settle",
    "Exchange._conclude": "settle",
    "Pipeline._take_in": "settle",
    "Committer._round": "commit",
    "KafkaSource._commit": "commit",
    "KafkaSource._live": "poll",
}
"""The innermost of these that is on a stack names its stage; what else there is belongs to the loop."""

_COLOURS: Final = {
    "poll": "#8ecae6",
    "decode": "#f4a261",
    "map": "#e9c46a",
    "pack": "#90be6d",
    "http": "#b5a7e6",
    "settle": "#f28482",
    "commit": "#84c7b9",
    "loop": "#c9ccd1",
    "librdkafka": "#a3b1c2",
}
_NAMESPACE: Final = "aiq.export.v1."
_WIDTH: Final = 1200
_LINE: Final = 17
_LETTER: Final = 6.6
_NARROWEST: Final = 0.0015
"""Of the whole; what is narrower shows nothing to anybody."""


# ---- from py-spy's lines to stacks -----------------------------------------------------------------------------------


def read_stacks(raw: str) -> Counter[Stack]:
    """py-spy's raw lines; what came before the loop ran is left out.

    So is what stands at the processor's clock: asking it is where the system puts a thread off that has to share its
    core, and it is seen standing there without using anything.
    """
    stacks: Counter[Stack] = Counter()
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        thread, *frames = text.split(";")
        names = [_name(frame) for frame in frames]
        if names[-1:] == [_CLOCK]:
            continue
        if thread.endswith("kafka"):
            stacks[KAFKA, *_after(names, "threading:Thread.run")] += int(count)
        elif "asyncio.runners:Runner.run" in names:
            stacks[LOOP, *_after(names, "asyncio.runners:Runner.run")] += int(count)
    return stacks


def _name(frame: str) -> str:
    """`function (package/module.py)` without paths; compiled code is told by what it was compiled for."""
    function, _, place = frame.rpartition(" (")
    place = place.removesuffix(")")
    if place.startswith("<"):
        return f"{place}:{function}"
    if place.startswith("/"):
        place = place.rpartition("/")[2]
    return f"{place.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}:{function}"


def _after(names: list[str], frame: str) -> list[str]:
    return names[names.index(frame) + 1 :] if frame in names else names


def scaled(stacks: Mapping[Stack, int], seconds: Mapping[str, float]) -> dict[Stack, float]:
    """Seconds by stack: the stacks of a thread divide what it used; a thread without any is a stack of its own."""
    samples: Counter[str] = Counter()
    for stack, count in stacks.items():
        samples[stack[0]] += count
    divided = {stack: count * seconds[stack[0]] / samples[stack[0]] for stack, count in stacks.items()}
    return divided | {(thread,): used for thread, used in seconds.items() if thread not in samples}


def stage_of(stack: Stack) -> str:
    """The stage that pays for it."""
    if stack[0] == LIBRDKAFKA:
        return "librdkafka"
    for frame in reversed(stack):
        module, _, function = frame.rpartition(":")
        if module.startswith(("aiohttp.client", "connector.braze_client")):
            return "http"
        if module.startswith("connector") and function in _BY_FUNCTION:
            return _BY_FUNCTION[function]
    return "loop"


def by_stage(seconds: Mapping[Stack, float]) -> dict[str, float]:
    """Seconds of each stage, in the order of `STAGES`."""
    found = dict.fromkeys(STAGES, 0.0)
    for stack, each in seconds.items():
        found[stage_of(stack)] += each
    return found


# ---- from stacks to a picture ----------------------------------------------------------------------------------------


@dataclass
class Node:
    """One box: a function, in this place of the stacks."""

    name: str
    seconds: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)
    above: dict[str, Node] = field(default_factory=dict)


def draw(seconds: Mapping[Stack, float], title: str, records: int) -> str:
    """The SVG: the threads at the bottom, callees above their callers, each in the colour of its stage."""
    root = _tree(seconds)
    rows = _depth(root, root.seconds) + 1
    height = 92 + rows * _LINE
    boxes: list[str] = []
    _place(root, 0.0, 0, root.seconds, records, height - 12 - _LINE, boxes)
    legend = ""
    for index, (stage, used) in enumerate(by_stage(seconds).items()):
        x = 10 + index * 132
        legend += f'<rect x="{x}" y="52" width="11" height="11" fill="{_COLOURS[stage]}"/>'
        legend += f'<text x="{x + 15}" y="62">{stage} {used / root.seconds:.1%}</text>'
    told = f"{root.seconds / records * 1e6:.1f} µs of processor time a record"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="11">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="10" y="24" font-size="17">{escape(title)}</text>'
        f'<text x="10" y="42">{told}; width is processor time; hover for the whole name and its share</text>'
        f"{legend}\n" + "\n".join(boxes) + "\n</svg>\n"
    )


def _tree(seconds: Mapping[Stack, float]) -> Node:
    root = Node("the connector's process")
    for stack, used in sorted(seconds.items()):
        node, stage = root, stage_of(stack)
        node.seconds += used
        node.stages[stage] += used
        for frame in stack:
            node = node.above.setdefault(frame, Node(frame))
            node.seconds += used
            node.stages[stage] += used
    return root


def _depth(node: Node, whole: float) -> int:
    return max(
        (1 + _depth(each, whole) for each in node.above.values() if each.seconds >= whole * _NARROWEST), default=0
    )


def _place(node: Node, x: float, level: int, whole: float, records: int, bottom: float, boxes: list[str]) -> None:
    """Adds the boxes of a node and of what it calls."""
    scale = (_WIDTH - 20) / whole
    width, y = node.seconds * scale, bottom - level * _LINE
    (stage, most), *_ = node.stages.most_common(1)
    colour = _COLOURS[stage] if most > 0.9 * node.seconds and level else "#e4e7eb"
    hover = f"{node.name}: {node.seconds / whole:.1%}, {node.seconds / records * 1e6:.2f} µs a record"
    boxes.append(
        f'<g><title>{escape(hover)}</title><rect x="{10 + x:.1f}" y="{y:.0f}" width="{max(width - 0.5, 0.3):.1f}" '
        f'height="{_LINE - 1}" fill="{colour}"/>{_label(node, x, y, width, whole)}</g>'
    )
    for each in sorted(node.above.values(), key=lambda each: -each.seconds):
        if each.seconds >= whole * _NARROWEST:
            _place(each, x, level + 1, whole, records, bottom, boxes)
            x += each.seconds * scale


def _label(node: Node, x: float, y: float, width: float, whole: float) -> str:
    room = int((width - 6) / _LETTER)
    module, _, function = node.name.rpartition(":")
    name = module.strip("<>").replace(_NAMESPACE, "") if module.startswith("<") else function
    short = name.rpartition(".")[2] if name is function else name
    share = f"{node.seconds / whole:.1%}"
    text = next((each for each in (f"{name} {share}", f"{short} {share}", short) if len(each) <= room), "")
    if not text:
        if room < 4:
            return ""
        text = short[: room - 1] + "…"
    return f'<text x="{13 + x:.1f}" y="{y + 12:.0f}">{escape(text)}</text>'


# ---- two runs --------------------------------------------------------------------------------------------------------


def main(
    records: Annotated[int, typer.Option(help="Half audiences (2 attributes), half events (6 properties).")] = 400_000,
    out: Annotated[Path, typer.Option(help="The picture.")] = ROOT / "docs" / "flame-graph.svg",
) -> None:
    """Measure, draw, and print the share of each stage."""
    py_spy = kept(f"flame-{PY_SPY.replace('==', '-')}", _install) / "bin" / "py-spy"
    workload = Workload("mixed", records, refused=100)
    with opened() as site:
        site.make_topics([contestants.LETTERS])
        site.write(workload)
        seconds = _run(site, workload, "alone", None)
        raw = site.new_file("stacks.txt")
        how = ["--format", "raw", "--nolineno", "--threads", "--rate", RATE]
        look = [py_spy, "record", *how, "--output", raw, "--pid"]
        _run(site, workload, "looked-at", look)
        stacks = scaled(read_stacks(raw.read_text(encoding="utf-8")), seconds)
    title = f"aiq-braze: {records:,} records, half audiences of 2 attributes, half events of 6 properties"
    out.write_text(draw(stacks, title, records), encoding="utf-8")
    console, whole = Console(), sum(seconds.values())
    for stage, used in by_stage(stacks).items():
        console.print(f"{stage:<11}{used / whole:6.1%}{used / records * 1e6:8.2f} µs a record")


def _run(site: Site, workload: Workload, group: str, look: list[object] | None) -> dict[str, float]:
    """Works everything off; returns the processor seconds of each thread from the start of consumption on."""
    with site.double(journal=False) as double:
        double.refuse()
        connector = contestants.connector(site, group, workload.topics, double.url)
        until("it has started", lambda: connector.must_live() or "connector_started" in connector.output())
        # Beside the double: started by the site, it would be on the connector's own core.
        spy = site.children.start([*map(str, look), str(connector.pid)], site.new_file("spy.log")) if look else None
        before = _threads_s(connector.pid)
        comparison.until_committed(site, connector, group, workload, within_s=600)
        after = _threads_s(connector.pid)
        connector.signal(signal.SIGTERM)
        assert connector.wait() == 0
        if spy is not None:
            assert spy.wait() == 0, spy.output()
    return {thread: used - before.get(thread, 0.0) for thread, used in after.items()}


def _threads_s(pid: int) -> dict[str, float]:
    """Processor seconds by kind of thread. The Kafka thread has no name of its own: it is the other Python one."""
    used: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text(encoding="utf-8").strip()
            ran_ns = int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # one that ended while we went through them: a client's that is gone
        is_python = name.startswith("python")
        thread = LIBRDKAFKA if not is_python else LOOP if task.name == str(pid) else KAFKA
        used[thread] += ran_ns / 1e9
    return dict(used)


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", folder, PY_SPY], check=True)


if __name__ == "__main__":
    typer.run(main)
