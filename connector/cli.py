"""The command `aiq-braze`: words in, exit codes out.

Exit codes: 0 done; 1 a fault of ours, or an audit that failed; 2 the configuration is wrong, one line a fault; 3 an
outside system refused, with what to do.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from prometheus_client import ProcessCollector

from connector import __version__
from connector.app import Connector
from connector.configuration import ConfigurationInvalid
from connector.settings import Settings, load
from connector.telemetry import Telemetry
from connector.trial import try_out

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Delivers ActionIQ audiences, events and triggered campaigns from Kafka to Braze, losing none of them.",
)

_OBJECTS_A_RECORD = 8
"""Of those that Python looks through, what a record in flight is made of: its message, the object for Braze with what
is nested in it, its user's lane with its lists, a place in a request."""

_OBJECTS_MAX = 2**31 - 1
"""Python counts them in a C integer."""

_STANDARD_ERROR = 2

_REMEMBERED = 1_000_000
"""Records that the double may have seen before anybody looks through what it remembers of them."""

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="AIQ_BRAZE_CONFIG", help="The YAML file; without it, AIQ_BRAZE__... variables alone."
    ),
]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aiq-braze {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # acted on by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and leave.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def run(config: Config = None) -> None:
    """Deliver, until SIGTERM or SIGINT; a second one leaves at once."""
    settings = _settings(config)
    telemetry = Telemetry(output=sys.stderr, level=settings.log.level, text=settings.log.format == "text")
    try:
        connector = Connector(settings, telemetry)
        ProcessCollector(registry=telemetry.registry)  # of the whole process: only who has it to himself may show it
        _collect_rarely(settings.buffer.records)
        code = _run(connector.run())
    except ConfigurationInvalid as error:
        _refuse(error)
    raise typer.Exit(code)


@app.command()
def check(config: Config = None) -> None:
    """Is everything there that `run` needs? One line a finding, with the remedy; nothing is changed."""
    from connector.check import check as look  # noqa: PLC0415  # the other commands need no admin client
    from connector.check import exit_code  # noqa: PLC0415

    settings = _settings(config)

    async def report() -> int:
        findings = []
        async for finding in look(settings):
            findings.append(finding)
            typer.echo(f"{finding.verdict:8}{finding.subject}: {finding.text}")
        return exit_code(findings)

    raise typer.Exit(_run(report()))


@app.command()
def demo(
    records: Annotated[int, typer.Option(min=1, help="How many records to produce.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Decides the whole workload.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the audit as one JSON object on the last line.")
    ] = False,
) -> None:
    """Three kinds of record from a real (in-process) broker through the connector into a Braze double, audited."""
    from connector.demo.screen import show  # noqa: PLC0415  # the other commands need no demo

    raise typer.Exit(_run(show(records, seed, as_json=as_json)))


@app.command()
def replay(  # noqa: PLR0913, PLR0917  # one argument an option
    config: Config = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only letters of this reason; may be repeated.")] = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="Only letters of this original topic; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only letters written since: 2026-11-23T14:00:00Z, or a duration such as 2h.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Only letters whose header aiq.dlq.FIELD is VALUE; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    rate: Annotated[float | None, typer.Option(help="Put back so many records a second at most.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Put back so many records at most.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object on the last line.")
    ] = False,
) -> None:
    """Put dead letters back where they came from, once each, and never an attribute over a newer one."""
    from connector.replay.command import ReplayWords  # noqa: PLC0415  # the other commands need no replay
    from connector.replay.command import replay as put_back  # noqa: PLC0415

    words = ReplayWords(reason or (), topic or (), since, where or (), dry_run, rate, limit, as_json)
    try:
        code = put_back(_settings(config), words, typer.echo, lambda line: typer.echo(line, err=True))
    except ConfigurationInvalid as error:
        _refuse(error)
    raise typer.Exit(code)


@app.command("simulate-braze")
def simulate_braze(
    api_key: Annotated[list[str], typer.Option(help="A key that is accepted, with every permission; may be repeated.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    journal: Annotated[
        Path | None, typer.Option(help="Append every applied object to this file, one JSON a line.")
    ] = None,
) -> None:
    """Serve the Braze double on the loopback interface; its address is the first line printed."""
    from connector.double.server import run_server  # noqa: PLC0415  # the other commands need no double

    async def serve() -> int:
        try:
            await run_server(port, api_key, journal, None, typer.echo)
        except OSError as error:
            is_port = error.filename is None and error.errno in {errno.EADDRINUSE, errno.EACCES}
            option = f"--port: {port} is not to be had" if is_port else f"--journal: {journal} cannot be written"
            _refuse(ConfigurationInvalid([f"{option}: {error.strerror}"]))
        return 0

    if not all(api_key):
        _refuse(ConfigurationInvalid(["--api-key: is empty, so that whoever has none would be let in"]))

    _collect_rarely(_REMEMBERED)  # to look through what it remembers would hold every request up
    raise typer.Exit(_run(serve()))


def _settings(config: Path | None) -> Settings:
    """The configuration, with everything there that it names on this machine."""
    try:
        settings = load(config)
        try_out(settings)
    except ConfigurationInvalid as error:
        _refuse(error)
    return settings


def _refuse(error: ConfigurationInvalid) -> NoReturn:
    for fault in error.faults:
        typer.echo(fault, err=True)
    raise typer.Exit(2)


def _collect_rarely(records: int) -> None:
    """Let Python look for cycles only when more has come to life than can be in flight.

    What flows holds none, whatever becomes of it, so there is nothing to be found; but to look through it costs a
    seventh of the processor time on the hot path, and everything stands still meanwhile. Should something be left lying
    about after all, it is found when it is as much as a full buffer. What is there already is looked at no more.

    Args:
        records: So many may be in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(min(records * _OBJECTS_A_RECORD, _OBJECTS_MAX), 1, 1)


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415  # absent on Windows
    except ImportError:
        return asyncio.run(work)
    code: int = uvloop.run(work)
    return code


def _occupy_standard_streams() -> None:
    """Have those of the first three descriptors that we were started without lead nowhere.

    Else sockets get their numbers: libuv ends the process where it closes one of these, and what any library writes to
    standard error goes to Braze, or to Kafka.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)


def main() -> None:
    """The console script."""
    _occupy_standard_streams()
    app()
