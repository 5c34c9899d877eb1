"""Everything around the connector on one machine: `compose.yaml` with Docker, `make stack` without it."""
