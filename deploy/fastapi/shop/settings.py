"""What the environment says. Read once; a value that makes no sense ends the start."""

import os
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

LOOPBACK_AND_PRIVATE = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"


@dataclass(frozen=True)
class Settings:
    database_url: str
    # Where usher is. What anybody else says about stores is not even heard. Narrow it to usher's own addresses where you can:
    # whoever is in these networks can name any store.
    router_networks: tuple[IPv4Network | IPv6Network, ...]
    # Without one nobody sees the administration.
    admin_password: str | None

    @classmethod
    def from_environment(cls):
        networks = os.environ.get("ROUTER_NETWORKS", LOOPBACK_AND_PRIVATE)
        return cls(
            database_url=os.environ["DATABASE_URL"],
            router_networks=tuple(map(ip_network, networks.replace(",", " ").split())),
            admin_password=os.environ.get("ADMIN_PASSWORD") or None,
        )
