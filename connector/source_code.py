"""Python source under construction: what the decoder's and the mapping's compilers write their functions with.

Pure. Invariant: the text is made of our own templates and numbered names only. Whatever a schema or a document spells
reaches the function as an object in its namespace, never as text, so no field name can become code.
"""

from __future__ import annotations

from typing import Any


class SourceCode:
    """Lines and the namespace that they run in.

    Args:
        **namespace: Objects that the lines call by name.

    Attributes:
        lines: What was put so far.
    """

    def __init__(self, **namespace: object) -> None:
        self.lines: list[str] = []
        self._namespace: dict[str, Any] = dict(namespace)
        self._names = 0

    def put(self, indent: int, *lines: str) -> None:
        """Adds lines, each behind `indent` spaces more than its own."""
        self.lines.extend(" " * indent + line for line in lines)

    def name(self, prefix: str) -> str:
        """A name that nobody else has."""
        self._names += 1
        return f"{prefix}{self._names}"

    def constant(self, value: object) -> str:
        """The name under which the lines find `value`."""
        name = self.name("K")
        self._namespace[name] = value
        return name

    def build(self, function: str, title: str) -> Any:
        """Runs the lines and answers the `function` they define. `title` stands in tracebacks as the file."""
        exec(compile("\n".join(self.lines), f"<{title}>", "exec"), self._namespace)  # noqa: S102  # see the invariant
        return self._namespace[function]
