"""Connections that have not shown a certificate yet: few at a time, and shared among networks.

Whoever can reach the port can open connections and say nothing. There are `MOST` places; where all
are taken, a newcomer is given the place of the oldest connection of the network that holds most.
So a connection is never refused for others, a network never loses a place to one that holds more,
and a connection keeps its place while fewer than `MOST` come after it: above a second at the rate
at which `medvae.api.joining` accepts them, where a handshake takes a fraction of that.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter

MOST = 64
# An IPv6 network of one customer: whoever has one address of it has all.
_PREFIX = 64


class Handshakes:
    """The tasks of connections at their handshake, oldest first."""

    def __init__(self) -> None:
        self._networks: dict[asyncio.Task[None], str] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def add(self, task: asyncio.Task[None], host: str) -> None:
        """Take a place; cancels another task where none is free."""
        if len(self._networks) >= MOST:
            oldest = self._oldest_of_most()
            del self._networks[oldest]
            oldest.cancel()
        self._networks[task] = network_of(host)

    def remove(self, task: asyncio.Task[None]) -> bool:
        """Give up the place; False where another has been given it."""
        return self._networks.pop(task, None) is not None

    def _oldest_of_most(self) -> asyncio.Task[None]:
        held = Counter(self._networks.values())
        most = max(held.values())
        return next(task for task, network in self._networks.items() if held[network] == most)


def network_of(host: str) -> str:
    """What all addresses of one machine share: an IPv4 address, or 64 bits of an IPv6 one."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, _PREFIX), strict=False))
        address = address.ipv4_mapped
    return str(address)
