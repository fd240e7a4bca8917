"""WebSocket (RFC 6455) through usher, spoken by the library `websockets` on both sides."""

import socket
import sys
import threading
import time

from score import Score
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

PORT = int(sys.argv[1])
score = Score()


def dial(path="/echo", host="customdomain1.com", **more):
    sock = socket.create_connection(("127.0.0.1", PORT), timeout=10)
    return connect(f"ws://{host}{path}", sock=sock, proxy=None, max_size=2**24, **more)


def echoed(connection, message):
    connection.send(message)
    return connection.recv(timeout=10) == message


with dial() as connection:
    score.add("a text", echoed(connection, "grüezi"), {True})
    score.add("octets", echoed(connection, bytes(range(256))), {True})
    score.add("nothing", echoed(connection, ""), {True})
    score.add("4 MiB", echoed(connection, "x" * 2**22), {True})
    connection.send(["in ", "three ", "fragments"])
    score.add("fragments", connection.recv(timeout=10), {"in three fragments"})
    score.add("a ping", connection.ping().wait(10), {True})
    score.add("1,000 messages in order", all(echoed(connection, str(n)) for n in range(1000)), {True})
    connection.close(1000, "done")
    score.add("the client's end", connection.close_code, {1000})

with dial("/goodbye") as connection:
    try:
        connection.recv(timeout=10)
        ended = "a message"
    except ConnectionClosed as closed:
        ended = (closed.rcvd.code, closed.rcvd.reason)
    score.add("the app's end, with its reason", ended, {(4001, "goodbye")})

with dial(subprotocols=["other", "superchat"]) as connection:
    score.add("a subprotocol", connection.subprotocol, {"superchat"})

with dial(compression=None) as connection:
    score.add("without compression", echoed(connection, "x" * 1000), {True})

with dial("/headers", additional_headers={"X-Store-Id": "2", "x_store_id": "2"}, origin="http://customdomain1.com") as connection:
    fields = connection.recv(timeout=10).splitlines()
    of = lambda name: [line.partition(": ")[2] for line in fields if line.partition(":")[0].replace("_", "-") == name]
    score.add("the store is told", of("x-store-id"), [["1"]])
    score.add("one host", of("host"), [["customdomain1.com"]])
    score.add("the origin is the client's", of("origin"), [["http://customdomain1.com"]])

for path, host, status in [("/refused", "customdomain1.com", 403), ("/echo", "nobody.example", 404)]:
    try:
        with dial(path, host):
            outcome = "opened"
    except InvalidStatus as refused:
        outcome = refused.response.status_code
    score.add(f"refused with {status}", outcome, {status})


def many(results):
    with dial() as connection:
        results.append(all(echoed(connection, str(n)) for n in range(20)))


results = []
crowd = [threading.Thread(target=many, args=(results,)) for _ in range(50)]
for member in crowd:
    member.start()
for member in crowd:
    member.join()
score.add("50 at once", results, [[True] * 50])

with dial() as quiet:
    time.sleep(2)
    score.add("after two quiet seconds", echoed(quiet, "still there"), {True})

score.finish()
