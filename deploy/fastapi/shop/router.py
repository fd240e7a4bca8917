"""What usher tells about a request, and the refusal of requests that did not come through it.

`RouterOnly` stands in front of everything else. Behind it `request.state.routed` is usher's word, the client's address and
scheme are what usher has seen, and links are right in path mode. Start uvicorn with `--no-proxy-headers`: it would replace the
address of the peer, by which usher is recognised, with the one that X-Forwarded-For tells.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

# X-Store-Match where there is no store.
ADMIN = "admin"
HOMEPAGE = "homepage"


@dataclass(frozen=True)
class Routed:
    """A request as usher describes it."""

    store_id: int | None
    match: str | None


class RouterOnly:
    """ASGI middleware: requests from usher's networks get in, all others are refused with 421."""

    def __init__(self, app, networks):
        self.app = app
        self.networks = networks

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        routed = read(headers) if self.is_router(scope.get("client")) else None
        if routed is None:
            # RFC 9110 §15.5.20: this server does not answer for that host when it is asked directly.
            return await PlainTextResponse("ask the router\n", status_code=421)(scope, receive, send)
        await self.app(seen_from_outside(scope, headers, routed), receive, send)

    def is_router(self, peer):
        try:
            address = ip_address(peer[0])
        except (TypeError, ValueError):
            return False
        # A socket for both families shows an IPv4 peer like this.
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def read(headers):
    """usher's word, or None where it is not in the form in which usher writes it."""
    ids, matches = headers.getlist("x-store-id"), headers.getlist("x-store-match")
    if len(ids) > 1 or len(matches) > 1 or not all(text.isascii() and text.isdigit() for text in ids):
        return None
    return Routed(int(ids[0]) if ids else None, matches[0] if matches else None)


def seen_from_outside(scope, headers, routed):
    """The request as its client made it: its address, scheme and whole path, of which `root_path` is usher's part."""
    prefix = headers.get("x-forwarded-prefix", "")
    client = headers.get("x-real-ip")
    return {
        **scope,
        "client": (client, 0) if client else scope["client"],
        "scheme": headers.get("x-forwarded-proto", scope["scheme"]),
        "root_path": prefix,
        "path": prefix + scope["path"],
        "raw_path": prefix.encode() + scope.get("raw_path", scope["path"].encode()),
        "state": {**scope.get("state", {}), "routed": routed},
    }
