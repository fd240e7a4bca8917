"""An app server of the old kind: so many workers, each with one request at a time from its first byte to its last.

    python workers.py PORT WORKERS

`GET /_busy` tells for how many seconds workers have had a request, all of them together.
"""

import json
import socket
import sys
import threading
import time

WORK_SECONDS = 0.01
PAGE = b"x" * (240 * 1024)
# What the kernel takes of an answer at once. On loopback it would take the whole page, whoever reads it.
SEND_BUFFER = 16 * 1024

busy = 0.0
lock = threading.Lock()


def work(listener):
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        began, target = time.monotonic(), ""
        try:
            with client, client.makefile("rb") as stream:
                target = serve(client, stream)
        except OSError:
            pass
        if target not in ("", "/health", "/_busy"):
            note(time.monotonic() - began)


def serve(client, stream):
    """One request on the connection, as synchronous workers do."""
    target = stream.readline().decode().partition(" ")[2].partition(" ")[0]
    length = 0
    while (line := stream.readline().strip().lower()):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    stream.read(length)
    if target == "/_busy":
        say(client, json.dumps(busy).encode())
    elif target == "/health":
        say(client, b"{}")
    else:
        time.sleep(WORK_SECONDS)
        say(client, PAGE if target == "/page" else b"thanks")
    return target


def say(client, body):
    client.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def note(seconds):
    global busy
    with lock:
        busy += seconds


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
workers = [threading.Thread(target=work, args=(listener,)) for _ in range(int(sys.argv[2]))]
for worker in workers:
    worker.start()
