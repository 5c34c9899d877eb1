"""Writer schemas by id, from a Confluent-compatible Schema Registry.

An edge, on aiohttp: of a registry's API the connector needs `GET /schemas/ids/{id}` with references, and nothing else,
so a client library with five more dependencies was not worth it. Answers are kept for good (an id never changes its
meaning), refusals for a while; an outage is waited for, since it is no record's fault.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from connector.outcomes import RetryPolicy
from connector.ports import Cured, SchemaUnknown, Trouble
from connector.secret import Secret

REASON: Final = "schema_registry"

_SCHEMA_BYTES_MAX: Final = 4_000_000
"""Registries keep a schema in one Kafka record, of a megabyte by default; quoted as JSON in JSON it grows by half. What
claims to be a registry must not fill our memory. All that a schema refers to has the same room once more."""

_REFERENCES_MAX: Final = 1_000

_NO_SCHEMA: Final = "the registry's answer holds no Avro schema: check the address"

_TOO_MUCH: Final = "the schema refers to more than any schema needs: check the address"

_NAMED: Final = {"record", "error", "enum", "fixed"}


@dataclass(frozen=True, slots=True)
class RegistryPolicy:
    """How the registry is reached.

    Attributes:
        url: Base address, path included.
        user: For basic authentication, with `password`; None: none.
        password: As above; as of each request.
        ca_file: Additional certificate authorities.
        proxy: URL of an HTTP proxy.
        timeout_s: Of one request.
        unknown_for_s: How long "no such schema" is believed.
    """

    url: str
    user: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    timeout_s: float = 10.0
    unknown_for_s: float = 30.0


class RegistryRefused(Exception):
    """The registry answered, and not with a schema.

    Args:
        words: What is wrong.
        halts: Credentials or address have to be mended; False: it will answer better by and by.
    """

    def __init__(self, words: str, *, halts: bool = True) -> None:
        super().__init__(words)
        self.halts = halts


@dataclass(slots=True)
class _Gathered:
    """What a schema refers to, as far as it is known.

    Attributes:
        named: Definitions by full name.
        asked: Subjects and versions.
        size: Of their schemas and the first, in characters.
    """

    named: dict[str, Any] = field(default_factory=dict)
    asked: set[tuple[str, int]] = field(default_factory=set)
    size: int = 0


class SchemaRegistry:
    """A cache in front of the registry.

    Args:
        policy: How it is reached.
        tell: Gets troubles and their end.
        count: Called with the status class of every answer (`none`: there was none).
        jitter: Uniform in 0 to 1.
    """

    def __init__(
        self,
        policy: RegistryPolicy,
        tell: Callable[[Trouble | Cured], None],
        count: Callable[[str], None],
        jitter: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._tell = tell
        self._count = count
        self._jitter = jitter
        self._retry = RetryPolicy(first_s=0.5, longest_s=15.0)
        self._known: dict[int, str] = {}
        self._unknown: dict[int, tuple[float, str]] = {}  # until when it is believed, and in which words
        self._asking: dict[int, asyncio.Future[str]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session."""
        context: ssl.SSLContext | bool = True
        if self._policy.ca_file is not None:
            context = ssl.create_default_context()
            context.load_verify_locations(self._policy.ca_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4, ssl=context),
            timeout=aiohttp.ClientTimeout(total=self._policy.timeout_s),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections; nobody waits for an answer any more."""
        for asking in list(self._asking.values()):
            asking.cancel()
        if self._session is not None:
            await self._session.close()

    async def fetch(self, schema_id: int) -> str:
        """The schema's JSON; waits through an outage.

        Raises:
            SchemaUnknown: The registry has none of that id.
        """
        known = self._known.get(schema_id)
        if known is not None:
            return known
        believed_until, words = self._unknown.get(schema_id, (float("-inf"), ""))
        if believed_until > time.monotonic():
            raise SchemaUnknown(words)
        asking = self._asking.get(schema_id)
        if asking is None:
            asking = self._asking[schema_id] = asyncio.ensure_future(self._ask_until_answered(schema_id))
            asking.add_done_callback(lambda done: self._answered(schema_id, done))
        return await asyncio.shield(asking)

    def _answered(self, schema_id: int, done: asyncio.Future[str]) -> None:
        del self._asking[schema_id]
        if not done.cancelled():
            done.exception()  # whoever asked may have gone meanwhile; that is no fault

    async def _ask_until_answered(self, schema_id: int) -> str:
        attempts = 0
        while True:
            attempts += 1
            try:
                text = await self._whole(await self.ask(f"/schemas/ids/{schema_id}"))
            except SchemaUnknown as unknown:
                self._tell(Cured(REASON))
                words = str(unknown) or _unknown_words(schema_id)
                self._unknown[schema_id] = (time.monotonic() + self._policy.unknown_for_s, words)
                raise SchemaUnknown(words) from None
            except RegistryRefused as refused:
                detail, halts = str(refused), refused.halts
            except (aiohttp.ClientError, TimeoutError, OSError):
                detail, halts = "the registry does not answer: check schema_registry.url", False
            else:
                self._tell(Cured(REASON))
                self._known[schema_id] = text
                return text
            self._tell(Trouble(REASON, f"{detail}; topics with unknown schemas wait for it", halts))
            await asyncio.sleep(self._retry.wait_s(attempts, 0.5 + self._jitter() / 2))

    async def _whole(self, answer: dict[str, Any]) -> str:
        """A schema with its references inlined, as Avro wants them: defined before they are named."""
        gathered = _Gathered()
        try:
            schema = await self._collect(answer, gathered)
            return orjson.dumps(_inlined(schema, gathered.named) if gathered.named else schema).decode()
        except (TypeError, KeyError, RecursionError):  # a name or a subject that is a number, say
            raise RegistryRefused(_NO_SCHEMA) from None

    async def _collect(self, answer: dict[str, Any], gathered: _Gathered) -> Any:
        """A schema as it was registered; what it refers to, and what that refers to, is gathered."""
        gathered.size += len(str(answer["schema"]))
        if gathered.size > 2 * _SCHEMA_BYTES_MAX:
            raise RegistryRefused(_TOO_MUCH)
        if answer.get("schemaType", "AVRO") != "AVRO":
            raise SchemaUnknown(f"it is of type {answer['schemaType']}; only Avro is read")
        try:
            schema = orjson.loads(answer["schema"])
            references = [(each["subject"], int(each["version"])) for each in answer.get("references") or ()]
        except (TypeError, KeyError, ValueError):
            raise RegistryRefused(_NO_SCHEMA) from None
        for subject, version in references:
            if (subject, version) in gathered.asked:
                continue
            gathered.asked.add((subject, version))
            if len(gathered.asked) > _REFERENCES_MAX:
                raise RegistryRefused(_TOO_MUCH)
            try:
                inner = await self.ask(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            except SchemaUnknown:
                words = f"it refers to version {version} of subject {subject}, which the registry does not have"
                raise SchemaUnknown(words) from None
            definition = await self._collect(inner, gathered)
            if isinstance(definition, dict) and "name" in definition:
                gathered.named[_full_name(definition, "")] = definition
        return schema

    async def latest(self, subject: str) -> str:
        """The newest schema of a subject; one question, no waiting.

        Raises:
            SchemaUnknown: There is no such subject.
            RegistryRefused: As for `ask`.
            aiohttp.ClientError: As for `ask`.
        """
        return await self._whole(await self.ask(f"/subjects/{quote(subject, safe='')}/versions/latest"))

    async def ask(self, path: str) -> dict[str, Any]:
        """One request.

        Raises:
            SchemaUnknown: 404.
            RegistryRefused: Another status that is no success, no JSON, or too much of it.
            aiohttp.ClientError: No answer.
        """
        if self._session is None:
            raise RuntimeError("the registry client was not opened")
        url = self._policy.url.rstrip("/") + path
        try:
            async with self._session.get(
                url, headers=self._authorization(), proxy=self._policy.proxy, allow_redirects=False
            ) as response:
                self._count(f"{response.status // 100}xx")
                if response.status == 404:
                    raise SchemaUnknown
                if response.status in {401, 403}:
                    raise RegistryRefused(f"the registry refuses us ({response.status}): check its credentials")
                if response.status != 200:
                    passes = response.status == 429 or response.status >= 500
                    raise RegistryRefused(f"the registry answers with status {response.status}", halts=not passes)
                try:
                    answer = orjson.loads(await _body(response))
                except orjson.JSONDecodeError:
                    raise RegistryRefused("the registry's answer is no JSON: check the address") from None
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._count("none")
            raise
        if not isinstance(answer, dict) or "schema" not in answer:
            raise RegistryRefused("the registry's answer holds no schema: check the address")
        return answer

    def _authorization(self) -> dict[str, str]:
        """The header, with the password of now: questions are rare, and a rotation must not need a restart."""
        if self._policy.user is None:
            return {}
        password = self._policy.password.current() if self._policy.password is not None else ""
        credentials = f"{self._policy.user}:{password}"
        return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while not response.content.at_eof():
        body += await response.content.read(_SCHEMA_BYTES_MAX)
        if len(body) > _SCHEMA_BYTES_MAX:
            raise RegistryRefused(
                f"the registry's answer is longer than any schema ({_SCHEMA_BYTES_MAX} bytes): check the address"
            )
    return bytes(body)


def _unknown_words(schema_id: int) -> str:
    return f"the registry has no schema of id {schema_id}: register it, or correct the producer or schema_registry.url"


def _full_name(definition: dict[str, Any], space: str) -> str:
    """A named type's full name, where it stands inside the namespace `space`."""
    name: str = definition["name"]
    if "." in name:
        return name
    space = definition.get("namespace", space)
    return f"{space}.{name}" if space else name


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    """`schema` with each referenced definition put where its name is first used.

    Names without a dot mean the namespace that they stand in, and a definition keeps its own one wherever it is put.
    """
    waiting = dict(named)

    def put(node: Any, space: str) -> Any:
        if isinstance(node, str):
            full = node if "." in node or not space else f"{space}.{node}"
            definition = waiting.pop(full, None)
            if definition is None:
                return node
            return put({**definition, "namespace": full.rpartition(".")[0]}, "")
        if isinstance(node, list):
            return [put(each, space) for each in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("type"), str) and node["type"] in _NAMED:
            space = _full_name(node, space).rpartition(".")[0]
        return {
            key: put(value, space) if key in {"type", "items", "values", "fields"} else value
            for key, value in node.items()
        }

    return put(schema, "")
