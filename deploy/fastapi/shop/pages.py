"""Pages for people: a store's, the homepage, the administration."""

import secrets
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.templating import Jinja2Templates

from .database import Connection
from .products import Products, StoreProducts
from . import router
from .store import CurrentStore, current_store

pages = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "pages")
login = HTTPBasic(auto_error=False)
Credentials = Annotated[HTTPBasicCredentials | None, Depends(login)]


@pages.get("/")
async def front(request: Request, connection: Connection, credentials: Credentials):
    """The one path that all kinds of hosts have in common."""
    match request.state.routed.match:
        case router.HOMEPAGE:
            return templates.TemplateResponse(request, "homepage.html")
        case router.ADMIN:
            return await administration(request, connection, credentials)
    store = await current_store(request, connection)
    products = await Products(store, connection).all()
    return templates.TemplateResponse(request, "shop.html", {"store": store, "products": products})


@pages.get("/products/{product_id}", name="product_page")
async def product_page(request: Request, product_id: int, store: CurrentStore, products: StoreProducts):
    product = await products.one(product_id)
    if product is None:
        raise HTTPException(404, "no such product")
    return templates.TemplateResponse(request, "product.html", {"store": store, "product": product})


@pages.get("/admin")
async def administration(request: Request, connection: Connection, credentials: Credentials):
    """Only where usher says that this is the administration: its own host, or this path on any other."""
    if request.state.routed.match != router.ADMIN:
        raise HTTPException(421, "this request is not for the administration")
    check(credentials, request.app.state.settings.admin_password)
    query = """SELECT stores.id, stores.name, count(products.id) AS products
               FROM stores LEFT JOIN products ON products.store_id = stores.id GROUP BY stores.id ORDER BY stores.id"""
    stores = await (await connection.execute(query)).fetchall()
    return templates.TemplateResponse(request, "admin.html", {"stores": stores})


def check(credentials, password):
    if password is None:
        raise HTTPException(403, "the administration is closed: no ADMIN_PASSWORD is set")
    given = credentials.password if credentials else ""
    if not secrets.compare_digest(given.encode(), password.encode()):
        raise HTTPException(401, "wrong password", {"WWW-Authenticate": "Basic"})
