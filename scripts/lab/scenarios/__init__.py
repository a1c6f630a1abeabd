"""All scenarios: importing this declares them."""

from . import flows, hostile, input, networks, operate, roaming, scale, sessions, tools, wire  # noqa: F401
