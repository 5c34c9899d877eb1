"""`python -m connector` is `aiq-braze`."""

from connector.cli import main

main()
