"""Benchmarks: measured on request with `make bench`, never asserted in a test."""
