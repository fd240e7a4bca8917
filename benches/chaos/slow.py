"""Slow clients do not hold app workers: 200 clients on a slow line, each with an upload and a large page, before an app with
four workers. How long were the workers busy, compared with fast clients that ask for the same?"""

import asyncio
import json
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from apps import Process, ask
from load import answer
from peers import Failed

SLOW = "slow-clients"
WORKERS = 4
LINE_BYTES_PER_SECOND = 20_000
PIECE_SECONDS = 0.1
UPLOAD = b"x" * (48 * 1024)
PAGE_BYTES = 240 * 1024
PATIENCE_SECONDS = 60
HOST = "customdomain1.com"
# A packet of the internet, not of loopback: what the kernel takes for a client that does not read grows with it.
SEGMENT_BYTES = 1460
RECEIVE_BUFFER = 4096
# What usher promises: slow clients keep workers busy for as long as fast ones do, and some room for a busy machine.
RATIO_MAX = 1.2

REQUESTS = [
    f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(UPLOAD)}\r\n\r\n".encode() + UPLOAD,
    f"GET /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
]


@dataclass(frozen=True)
class SlowFigure:
    """The same work for fast and for slow clients behind one proxy."""

    proxy: str
    clients: int
    fast: dict
    slow: dict

    @property
    def ratio(self):
        return self.slow["busy_seconds"] / self.fast["busy_seconds"]

    def line(self):
        return f"slow clients, {self.proxy}: workers busy {self.ratio:.2f} of {self.fast['busy_seconds']} s; {self.slow}"

    def rows(self):
        for name, run in (("fast", self.fast), ("slow", self.slow)):
            yield [self.proxy, name, f"**{run['failed']}** of {self.clients}", str(run["busy_seconds"]),
                   f"**{self.ratio:.2f}**" if run is self.slow else "1", str(run["seconds"])]

    def what(self):
        return (f"{self.clients} clients at once, each with an upload of {len(UPLOAD) // 1024} KiB and a page of "
                f"{PAGE_BYTES // 1024} KiB, before an app with {WORKERS} workers that need 10 ms for a request; the slow ones "
                f"send and take {LINE_BYTES_PER_SECOND // 1000} KB a second.")

    def raw(self):
        return asdict(self)


class Workers(Process):
    def command(self):
        return [sys.executable, "-B", Path(__file__).parent / "workers.py", self.port, WORKERS]


async def play_slow_clients(proxy, directory, database, clients):
    with ExitStack() as running:
        app = Workers(directory)
        running.callback(app.close)
        await app.start()
        front = proxy(directory, [app.port], database, answer_seconds=60)
        running.callback(front.stop)
        runs = [await crowd(front.port, app.port, clients, slow) for slow in (False, True)]
        figure = SlowFigure(proxy.title, clients, *runs)
        if proxy.name == "usher" and figure.ratio > RATIO_MAX:
            raise Failed(f"more than {RATIO_MAX}: {figure.line()}")
        return figure


async def crowd(port, app_port, clients, slow):
    before, began = await busy(app_port), time.monotonic()
    served = await asyncio.gather(*(served_well(port, slow) for _ in range(clients)))
    seconds = round(time.monotonic() - began, 1)
    return {"busy_seconds": round(await busy(app_port) - before, 2), "failed": served.count(False), "seconds": seconds}


async def busy(app_port):
    while True:
        try:
            return json.loads((await ask(app_port, "/_busy"))[1])
        except TimeoutError:
            continue  # workers still busy with what a proxy has given up are part of the figure


async def served_well(port, slow):
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await (slow_visit(port) if slow else visit(port))
    except (OSError, asyncio.IncompleteReadError):
        return False


async def visit(port):
    for number, request in enumerate(REQUESTS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            status, body, _ = await answer(reader)
        finally:
            writer.close()
        if status != 200 or number == 1 and len(body) != PAGE_BYTES:
            return False
    return True


async def slow_visit(port):
    """The same, over a line that carries so many bytes a second each way."""
    for number, request in enumerate(REQUESTS):
        with socket.socket() as line:
            line.setblocking(False)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
            received = await slow_exchange(line, request, PAGE_BYTES if number == 1 else 1)
        if not received.startswith(b"HTTP/1.1 200"):
            return False
    return True


async def slow_exchange(line, request, body_bytes):
    """The answer; too short a one is no answer."""
    loop, piece = asyncio.get_running_loop(), int(LINE_BYTES_PER_SECOND * PIECE_SECONDS)
    for start in range(0, len(request), piece):
        await loop.sock_sendall(line, request[start:start + piece])
        await asyncio.sleep(PIECE_SECONDS)
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < body_bytes:
        part = await loop.sock_recv(line, piece)
        if not part:
            return b""
        received += part
        await asyncio.sleep(PIECE_SECONDS)
    return received
