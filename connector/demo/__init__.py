"""The demonstration: a real broker, real Avro, the real connector and the Braze double, audited to the record.

A tool. `aiq-braze demo` runs it; it needs nothing outside this process.
"""

from connector.demo.stage import DemoOutcome, perform

__all__ = ["DemoOutcome", "perform"]
