"""The app servers: real ones, uvicorn with the app in deploy/fastapi, and one that misbehaves when it is told to."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from peers import Failed, free_port

ROOT = Path(__file__).resolve().parents[2]
UP_DEADLINE_SECONDS = 30
DOWN_DEADLINE_SECONDS = 15


class Process:
    """A child that can be stopped, killed, frozen and started again on the same port; signalled by its own id."""

    def __init__(self, directory):
        self.port = free_port()
        self.output = open(directory / f"app-{self.port}.output", "ab")
        self.child = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    async def start(self):
        """Returns once it answers."""
        self.child = subprocess.Popen(
            list(map(str, self.command())), env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
        )
        deadline = time.monotonic() + UP_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failed(f"an app server ended:\n{Path(self.output.name).read_text()[-2000:]}")
            if await self.answers():
                return
            await asyncio.sleep(0.05)
        raise Failed(f"an app server did not answer within {UP_DEADLINE_SECONDS} s")

    async def answers(self):
        try:
            return (await ask(self.port, "/health"))[0] == 200
        except (OSError, EOFError, TimeoutError):
            return False

    def send(self, number):
        self.child.send_signal(number)

    async def stop(self):
        """SIGTERM, and the time to finish what runs; an app server in good order needs no more."""
        self.send(signal.SIGTERM)
        for _ in range(DOWN_DEADLINE_SECONDS * 50):
            if self.child.poll() is not None:
                return
            await asyncio.sleep(0.02)
        raise Failed(f"an app server did not end within {DOWN_DEADLINE_SECONDS} s after SIGTERM")

    def kill(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def close(self):
        self.kill()
        self.output.close()


class Uvicorn(Process):
    """The real app."""

    def __init__(self, directory, database_url):
        super().__init__(directory)
        self.database_url = database_url

    def command(self):
        return [sys.executable, "-B", "-m", "uvicorn", "--app-dir", ROOT / "deploy/fastapi", "--port", self.port,
                "--no-proxy-headers", "--no-access-log", "--log-level", "warning", "shop.main:app"]

    def environment(self):
        return {"DATABASE_URL": self.database_url}


class Scripted(Process):
    """`scripted.py`: answers as the app does, after `delay_ms`, until it is told to do something else."""

    def __init__(self, directory, delay_ms=0):
        super().__init__(directory)
        self.delay_ms = delay_ms

    def command(self):
        return [sys.executable, "-B", Path(__file__).parent / "scripted.py", self.port, self.delay_ms]

    async def behave(self, how):
        status, _ = await ask(self.port, f"/_behave/{how}")
        if status != 200:
            raise Failed(f"the scripted app server does not know how to {how}")

    async def orders(self):
        return json.loads((await ask(self.port, "/_orders"))[1])


async def ask(port, target):
    """One GET on a connection of its own."""
    async with asyncio.timeout(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            return int(head.split()[1]), await reader.read()
        finally:
            writer.close()
