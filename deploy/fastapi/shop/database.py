"""Connections to PostgreSQL: each request borrows one, and what it did there is committed before it is answered."""

from typing import Annotated

from fastapi import Depends, Request
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool


def pool(url):
    """Not open yet. `check` spares a request the connection that died with a restarted server."""
    return AsyncConnectionPool(
        url, min_size=1, max_size=10, timeout=5, open=False, kwargs={"row_factory": dict_row},
        check=AsyncConnectionPool.check_connection,
    )


async def connection(request: Request):
    async with request.app.state.pool.connection() as borrowed:
        yield borrowed


# With FastAPI's usual scope the commit would come after the answer: who asks again at once would not find what is said to be
# there, and a commit that fails could not be told.
Connection = Annotated[AsyncConnection, Depends(connection, scope="function")]
