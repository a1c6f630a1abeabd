"""How a scenario is declared, and which programs it runs with."""

import dataclasses

EACH = "each"  # ours with ours, and ours with every peer, in either role
OURS = "ours"  # ours at both ends
FROM_OURS = "from-ours"  # ours with ours, and with every peer that is called

SCENARIOS = {}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A function that is given a Lab, and what it needs."""

    name: str
    function: object
    pairs: str
    smoke: str
    seconds: int

    def programs(self, ours, peers, smoke):
        """The programs at (A, B), once for each run. A is the initiator."""
        which = self.smoke if smoke else self.pairs
        pairs = [(ours, ours)] if which else []
        if which in (EACH, FROM_OURS):
            pairs += [(ours, peer) for peer in peers]
        if which == EACH:
            pairs += [(peer, ours) for peer in peers]
        return pairs


def scenario(pairs=OURS, smoke=None, seconds=40):
    """Declares a scenario. `smoke`: the pairs that belong to scripts/test, where they are not all; '' for none.
    `seconds`: it has failed when it takes longer."""
    def declare(function):
        name = function.__name__.removeprefix("test_")
        assert name not in SCENARIOS, f"two scenarios are called {name}"
        SCENARIOS[name] = Scenario(name, function, pairs, pairs if smoke is None else smoke, seconds)
        return function
    return declare


@dataclasses.dataclass(frozen=True)
class Lab:
    """What a scenario is given: the wired network, and the programs for A and B."""

    net: object
    kinds: tuple
    ours: object

    def pair(self, **options):
        """Two gateways that know each other; see `Net.pair`."""
        return self.net.pair(self.kinds, **options)

    def only_ours(self):
        """Whether our program runs at both ends."""
        return self.kinds == (self.ours, self.ours)

    def is_ours(self, side):
        """Whether our program runs at `a` or `b`."""
        return self.kinds["ab".index(side)] == self.ours


def check(condition, what):
    """Raises where something is not as it must be."""
    if not condition:
        raise AssertionError(what)


def equal(got, wanted, what):
    """Raises where two values differ, and shows both."""
    check(got == wanted, f"{what}: got {got}, wanted {wanted}")
