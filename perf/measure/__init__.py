"""Measurements of tunnels: what `perf/run` is made of.

The namespaces, hosts and programs are those of `scripts/lab`.
"""
