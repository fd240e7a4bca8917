"""The app: `uvicorn --no-proxy-headers shop.main:app`."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from . import database
from .api import api
from .pages import pages
from .router import RouterOnly
from .settings import Settings


def create_app(settings):
    # The address of the API is written relative to the page that describes it: path mode has a prefix in front of both.
    app = FastAPI(title="Shop", lifespan=lifespan, root_path_in_servers=False, servers=[{"url": "."}])
    app.state.settings = settings
    app.state.pool = database.pool(settings.database_url)
    app.include_router(pages)
    app.include_router(api)
    app.add_api_route("/health", health, include_in_schema=False)
    app.add_middleware(RouterOnly, networks=settings.router_networks)
    return app


@asynccontextmanager
async def lifespan(app):
    """Not ready before the database has answered once."""
    async with app.state.pool:
        await app.state.pool.wait(timeout=30)
        yield


async def health():
    """For usher's probes. Without the database: one that is away is no reason to take every app server out at once."""
    return {"healthy": True}


app = create_app(Settings.from_environment())
