"""The products of one store. Whoever holds a `Products` has no way to ask for those of another."""

from decimal import Decimal
from typing import Annotated

from fastapi import Depends
from psycopg.errors import ForeignKeyViolation
from pydantic import BaseModel

from .database import Connection
from .store import CurrentStore


class Product(BaseModel):
    id: int
    name: str
    price: Decimal


class NewProduct(BaseModel):
    name: str
    price: Decimal


class Products:
    """Every statement here names the store; there are no others in the app."""

    def __init__(self, store: CurrentStore, connection: Connection):
        self.store_id = store.id
        self.connection = connection

    async def all(self) -> list[Product]:
        rows = await self.rows("SELECT id, name, price FROM products WHERE store_id = %s ORDER BY id", self.store_id)
        return [Product(**row) for row in rows]

    async def one(self, product_id: int) -> Product | None:
        rows = await self.rows(
            "SELECT id, name, price FROM products WHERE store_id = %s AND id = %s", self.store_id, product_id
        )
        return Product(**rows[0]) if rows else None

    async def add(self, new: NewProduct) -> Product:
        rows = await self.rows(
            "INSERT INTO products (store_id, name, price) VALUES (%s, %s, %s) RETURNING id, name, price",
            self.store_id, new.name, new.price,
        )
        return Product(**rows[0])

    async def order(self, product_id: int, reference: str) -> int | None:
        """The number of the order; None where the store has no such product."""
        try:
            rows = await self.rows(
                "INSERT INTO orders (store_id, product_id, reference) VALUES (%s, %s, %s) RETURNING id",
                self.store_id, product_id, reference,
            )
        except ForeignKeyViolation:
            return None
        return rows[0]["id"]

    async def rows(self, query, *values):
        return await (await self.connection.execute(query, values)).fetchall()


StoreProducts = Annotated[Products, Depends(Products)]
