"""The express lane: plain records from bytes to JSON in one step, where the connector was compiled; else there is none.

Pure. A lane is a short way beside `decode` and `mapping`, never a second opinion: it gives what they would give, or it
declines, and they take the record. `plan` says which schemas and documents have one, `walk.c` is what runs, and
`python -m connector.express.build` compiles it in place. Without it everything works, at more processor time.
"""

from __future__ import annotations

from connector.express.plan import compile_lane
from connector.express.program import is_compiled

__all__ = ["compile_lane", "is_compiled"]
