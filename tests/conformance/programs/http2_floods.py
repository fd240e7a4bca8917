"""Floods of HTTP/2: while each of them runs and after it, other clients are served, and memory stays where it was.

Each names the weakness that it was found as elsewhere, or the section of RFC 9113 §10.5 that warns of it.
"""

import http.client
import struct
import sys
import threading
import time

from frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, PING, PREFACE, PRIORITY,
                    SETTINGS, Connection, frame, request, reset, settings, window_update)
from score import Score

PORT, PROCESS = int(sys.argv[1]), int(sys.argv[2])
SECONDS = 1
HOLDERS = 10
HELD_MAX = 100  # requests at once of one client, as usher is configured
ATTACKER = "127.0.0.2"  # others come from another address
RESPONSIVE_SECONDS = 1
GROWTH_MAX = 48 * 2**20
EXCHANGE_MAX = 384 * 2**10  # of one that is held: what was read at once of its answer or upload, and a connection to the app
score = Score()


def memory():
    with open(f"/proc/{PROCESS}/statm") as pages:
        return int(pages.read().split()[1]) * 4096


class Bystander(threading.Thread):
    """Somebody else, who asks ten times a second; how long the slowest answer took, or what went wrong."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.slowest = 0.0
        self.trouble = None

    def run(self):
        while not self.stopped.wait(0.1):
            began = time.monotonic()
            try:
                client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
                client.request("GET", "/served/bystander", headers={"Host": "customdomain1.com"})
                if client.getresponse().status != 200:
                    self.trouble = "not served"
                client.close()
            except OSError as error:
                self.trouble = repr(error)
            self.slowest = max(self.slowest, time.monotonic() - began)


def flood(name, step, setup=None, pairs=(), held=0):
    """`step` is sent again and again on a connection, and on a new one where usher ends it.

    Where it opens exchanges that are `held`, it is sent once on each of so many connections, which stay open.
    """
    before, bystander = memory(), Bystander()
    bystander.start()
    end, connections, sent = time.monotonic() + SECONDS, [], 0
    while time.monotonic() < end:
        connection = Connection(PORT, *pairs, seconds=1, source=ATTACKER)
        connections.append(connection)
        if setup:
            connection.send(*setup(connection))
        round_number = 0
        while time.monotonic() < end and connection.send(*step(connection, round_number)):
            round_number += 1
            if held:
                break
        sent += round_number
        if not held:
            connection.socket.close()
        elif len(connections) == HOLDERS:
            time.sleep(max(0, end - time.monotonic()))
    grown = memory() - before
    for connection in connections:
        connection.socket.close()
    bystander.stopped.set()
    bystander.join()
    time.sleep(0.1)
    after = Bystander()
    after.start()
    time.sleep(0.25)
    after.stopped.set()
    after.join()
    slowest = max(bystander.slowest, after.slowest)
    trouble = bystander.trouble or after.trouble
    fine = not trouble and slowest < RESPONSIVE_SECONDS and grown < GROWTH_MAX + min(HOLDERS * held, HELD_MAX) * EXCHANGE_MAX
    said = f"{sent} rounds on {len(connections)} connections, others waited {slowest * 1000:.0f} ms at most, " \
           f"memory grew by {grown / 2**20:.1f} MiB" + (f", {trouble}" if trouble else "")
    score.add(name, said, {said} if fine else {"others served within a second and memory bounded"})


def streams(round_number, count):
    return range(1 + 2 * count * round_number, 1 + 2 * count * (round_number + 1), 2)


def opened(connection, round_number, count=50, path="/served/flood", end=True):
    return [connection.headers(stream, request(path, "GET" if end else "POST"), end) for stream in streams(round_number, count)]


def rapid_reset(connection, round_number):
    return [part for stream in streams(round_number, 50)
            for part in (connection.headers(stream, request("/served/flood")), reset(stream))]


def made_you_reset(connection, round_number):
    return [part for stream in streams(round_number, 50)
            for part in (connection.headers(stream, request("/served/flood")), window_update(stream, 0))]


def bomb(connection):
    """RFC 7541 §7.3: one entry as large as the table, then a block of nothing but references to it."""
    entry = connection.encoder.encode([("x-bomb", "a" * 3900)], huffman=False)
    return [frame(HEADERS, END_HEADERS | END_STREAM, 1, connection.encode(request("/served/flood")) + entry)]


def references(connection, round_number):
    return [frame(HEADERS, END_HEADERS | END_STREAM, 3 + 2 * round_number,
                  connection.encode(request("/served/flood")) + b"\xbe" * 16000)]


def endless_head(connection):
    return [frame(HEADERS, END_STREAM, 1, connection.encode(request("/served/flood")))]


flood("rapid reset (CVE-2023-44487)", rapid_reset)
flood("resets that usher is made to send (CVE-2025-8671)", made_you_reset)
flood("CONTINUATION without end (VU#421644)", setup=endless_head,
      step=lambda c, _: [frame(CONTINUATION, 0, 1, c.encoder.encode([("x-more", "a" * 1000)])) for _ in range(50)])
flood("empty CONTINUATION without end", setup=endless_head, step=lambda c, _: [frame(CONTINUATION, 0, 1)] * 500)
flood("PING (CVE-2019-9512)", lambda c, _: [frame(PING, 0, 0, bytes(8))] * 500)
flood("SETTINGS (CVE-2019-9515)", lambda c, _: [settings((INITIAL_WINDOW, 65535))] * 500)
flood("PRIORITY (CVE-2019-9513)", lambda c, n: [frame(PRIORITY, 0, 1 + 2 * i, struct.pack(">IB", 0, 7)) for i in range(500)])
flood("empty DATA (CVE-2019-9518)", setup=lambda c: opened(c, 0, 1, end=False), step=lambda c, _: [frame(DATA, 0, 1)] * 500)
flood("empty header blocks", lambda c, n: [frame(HEADERS, END_HEADERS | END_STREAM, s) for s in streams(n, 100)])
flood("an HPACK bomb (RFC 7541 §7.3)", setup=bomb, step=references)
flood("WINDOW_UPDATE by one (CVE-2019-9511)", setup=lambda c: opened(c, 0, 1, "/large"),
      step=lambda c, _: [window_update(1, 1)] * 500, pairs=[(INITIAL_WINDOW, 1)])
flood("more streams than are allowed", lambda c, n: opened(c, n, 500))
flood("answers that nobody takes (CVE-2019-9517)", lambda c, _: opened(c, 0, 100, "/large"), pairs=[(INITIAL_WINDOW, 0)], held=100)
flood("large answers on connections that nobody reads", lambda c, _: opened(c, 0, 100, "/large"),
      setup=lambda c: [window_update(0, 2**30)], pairs=[(INITIAL_WINDOW, 2**30)], held=100)
flood("uploads that end nowhere", held=100, step=lambda c, _: opened(c, 0, 100, end=False)
      + [frame(DATA, 0, stream, bytes(10000)) for stream in range(1, 13, 2)])
flood("a preface again and again", lambda c, _: [PREFACE] * 100)

score.finish()
