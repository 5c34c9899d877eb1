"""Benchmarks: `make bench`. A timing is never a test."""
