"""Mutations: small patches, each of which breaks one rule of the protocol, and the test that must fail for it.

`patch` reads them and applies them, `source` finds the tests that they name, `work` builds and runs.
"""


class MutationError(Exception):
    """Why a mutation proves nothing. The text names the patch and says what to do."""
