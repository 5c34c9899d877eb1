from __future__ import annotations

import asyncio

# looptime asks for "the current loop" before every test, a plain one too, and on Python 3.11 asking makes one that
# nobody closes: a ResourceWarning in some later test. Once it was said that there is none, asking makes none.
asyncio.set_event_loop(None)
