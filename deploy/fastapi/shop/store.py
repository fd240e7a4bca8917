"""The store of a request. This dependency is what a StoreContextMiddleware becomes behind usher."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from .database import Connection
from .router import ADMIN, HOMEPAGE


@dataclass(frozen=True)
class Store:
    id: int
    subdomain: str
    name: str


async def current_store(request: Request, connection: Connection) -> Store:
    """Sets `request.state.store`, or refuses the request. `Host` is not looked at: that was usher's job."""
    routed = request.state.routed
    if routed.store_id is None:
        raise no_store(routed.match)
    query = "SELECT id, subdomain, name FROM stores WHERE id = %s AND is_active"
    row = await (await connection.execute(query, [routed.store_id])).fetchone()
    if row is None:  # closed since usher last looked
        raise HTTPException(404, "no such store")
    request.state.store = Store(**row)
    return request.state.store


def no_store(match):
    """The homepage and the administration have no store pages. Without usher's word on the host it is not known at all."""
    if match in (ADMIN, HOMEPAGE):
        return HTTPException(404, "not found")
    return HTTPException(421, "this request names no store")


CurrentStore = Annotated[Store, Depends(current_store)]
