"""Constant load: a request at every tick, however long earlier ones take, and an account of each.

Half of the requests are for either store. A GET has to bring the products of its store and nothing else, a POST places an
order with a reference of its own. Connections are kept as browsers keep them.
"""

import asyncio
import json
import time
from dataclasses import dataclass

PATIENCE_SECONDS = 10  # a customer who has waited so long is gone
STORES = {"customdomain1.com": (1, b"Product A", b"Product C"), "customdomain2.com": (3, b"Product C", b"Product A")}


@dataclass(frozen=True)
class Outcome:
    """What one request came to; `failure` says what went wrong, if anything did."""

    method: str
    at: float
    took: float
    failure: str | None
    reference: str | None


class Load:
    def __init__(self, port, rate, posts):
        self.port = port
        self.rate = rate
        self.posts = posts
        self.idle = []
        self.outcomes = []

    async def run(self, until):
        """Until the event, and then until the last answer."""
        began, number, running = time.monotonic(), 0, set()
        while not until.is_set():
            due = began + number / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            task = asyncio.create_task(self.request(number, due, due - began))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        await asyncio.gather(*running)
        for _, writer in self.idle:
            writer.close()

    async def request(self, number, due, at):
        is_post = int((number + 1) * self.posts) > int(number * self.posts)
        host, (product, own, foreign) = list(STORES.items())[number // 2 % 2]
        reference = f"order-{number}" if is_post else None
        message = post(host, product, reference) if is_post else get(host)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                status, body = await self.exchange(message)
            failure = wrong(status, body, is_post, own, foreign)
        except TimeoutError:
            failure = f"no answer in {PATIENCE_SECONDS} s"
        except ConnectionRefusedError:
            failure = "refused"
        except (OSError, asyncio.IncompleteReadError) as error:
            failure = "reset" if isinstance(error, ConnectionResetError) else "broken off"
        took = time.monotonic() - due
        self.outcomes.append(Outcome("POST" if is_post else "GET", at, took, failure, reference))

    async def exchange(self, message):
        reader, writer = await self.connection()
        try:
            writer.write(message)
            status, body, goes_on = await answer(reader)
        except BaseException:
            writer.transport.abort()
            raise
        if goes_on:
            self.idle.append((reader, writer))
        else:
            writer.close()
        return status, body

    async def connection(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)


def get(host):
    return f"GET /api/products HTTP/1.1\r\nHost: {host}\r\nX-Store-Id: 4711\r\nAccept: application/json\r\n\r\n".encode()


def post(host, product, reference):
    body = json.dumps({"product_id": product, "reference": reference})
    return (f"POST /api/orders HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


async def answer(reader):
    """Status and body of one answer, and whether its connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split()[1])
    goes_on = b"\r\nconnection: close" not in head
    if b"\r\ntransfer-encoding: chunked" in head:
        return status, await chunks(reader), goes_on
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        return status, await reader.read(), False
    return status, await reader.readexactly(int(rest.split(b"\r\n")[0])), goes_on


async def chunks(reader):
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def wrong(status, body, is_post, own, foreign):
    if status != (201 if is_post else 200):
        return f"status {status}"
    if not is_post and (own not in body or foreign in body):
        return "the wrong store"
    return None
