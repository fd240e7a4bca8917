"""An app server that does what it is told, faults included: python scripted.py PORT DELAY_MS

`GET /_behave/NAME` changes what it does with every further request; `GET /_orders` tells how often it has taken each order.
An order counts as placed as soon as it was read whole: a real app may have placed it before it fails.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import Counter

PRODUCTS = {"1": [{"id": 1, "name": "Product A"}, {"id": 2, "name": "Product B"}], "2": [{"id": 3, "name": "Product C"}]}
SLOW_SECONDS = 2

orders = Counter()
delay_seconds = int(sys.argv[2]) / 1000
behaviour = "well"


async def serve(reader, writer):
    try:
        while await exchange(reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def exchange(reader, writer):
    """One request; whether the connection goes on."""
    line, fields, body = await read(reader)
    method, target, _ = line.split(" ")
    if target.startswith("/_"):
        goes_on = await say(writer, 200, control(target))
    else:
        if method == "POST":
            orders[json.loads(body)["reference"]] += 1
        goes_on = await BEHAVIOURS[behaviour](writer, method, target, fields)
    return goes_on and fields.get("connection", "").lower() != "close"


async def read(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.rstrip("\r\n").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
    if fields.get("transfer-encoding") == "chunked":
        return line, fields, await read_chunks(reader)
    return line, fields, await reader.readexactly(int(fields.get("content-length", 0)))


async def read_chunks(reader):
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def control(target):
    global behaviour
    if target == "/_orders":
        return orders
    name = target.removeprefix("/_behave/")
    if name not in BEHAVIOURS:
        raise OSError(name)
    behaviour = name
    return name


async def well(writer, method, target, fields):
    await asyncio.sleep(delay_seconds)
    if target == "/health":
        return await say(writer, 200, {"healthy": True})
    if method == "POST":
        return await say(writer, 201, {"id": 1})
    return await say(writer, 200, PRODUCTS.get(fields.get("x-store-id")))


async def fail(writer, *_):
    return await say(writer, 500, {"detail": "broken"})


async def dawdle(writer, method, target, fields):
    await asyncio.sleep(SLOW_SECONDS)
    return await well(writer, method, target, fields)


async def reset(writer, *_):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def say_nothing(*_):
    await asyncio.sleep(3600)


BEHAVIOURS = {"well": well, "fail": fail, "dawdle": dawdle, "reset": reset, "say_nothing": say_nothing}


async def say(writer, status, content):
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
