"""The connector between ActionIQ and Braze: Kafka in, Braze's REST API out, nothing lost between."""

__version__ = "0.1.0"
