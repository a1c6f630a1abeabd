"""A lab of network namespaces: two gateways, a router between them, real programs, real TUN devices.

`scripts/lab/run` runs the scenarios; `perf/run` builds its measurements from the same parts. Everything happens in
namespaces of its own (see `sandbox`), so that parallel runs never meet and nothing is left behind.
"""
