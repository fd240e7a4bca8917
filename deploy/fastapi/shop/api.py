"""The same for programs, as JSON; described in /docs."""

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel

from .products import NewProduct, Product, StoreProducts

api = APIRouter(prefix="/api", tags=["products"])


class NewOrder(BaseModel):
    product_id: int
    reference: str


class Order(BaseModel):
    id: int
    reference: str


@api.get("/products")
async def list_products(products: StoreProducts) -> list[Product]:
    return await products.all()


@api.get("/products/{product_id}")
async def show_product(product_id: int, products: StoreProducts) -> Product:
    product = await products.one(product_id)
    if product is None:
        raise HTTPException(404, "no such product")
    return product


@api.post("/products", status_code=201)
async def add_product(new: NewProduct, products: StoreProducts, request: Request, response: Response) -> Product:
    product = await products.add(new)
    response.headers["Location"] = str(request.url_for("show_product", product_id=product.id))
    return product


@api.post("/orders", status_code=201)
async def place_order(new: NewOrder, products: StoreProducts) -> Order:
    number = await products.order(new.product_id, new.reference)
    if number is None:
        raise HTTPException(404, "no such product")
    return Order(id=number, reference=new.reference)
