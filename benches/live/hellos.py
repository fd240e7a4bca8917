"""Handshakes for names that nobody has, at an even rate, until the time is over: each is opened by a ClientHello that a library has
written, with another name of the same length in it, and ends with the answer. Prints how many were refused as they should be."""

import random
import socket
import ssl
import string
import sys
import time
from collections import deque

# So many wait for their answers: some of them wait for the database.
AT_ONCE = 16
LENGTH = 12
PLACE = "x" * LENGTH + ".example"
# A fatal alert, unrecognized_name (RFC 6066 §3).
REFUSAL = bytes([21, 3, 3, 0, 2, 2, 112])


def main():
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    pattern, waiting, began, sent, refused = hello(), deque(), time.perf_counter(), 0, 0
    while (passed := time.perf_counter() - began) < seconds:
        time.sleep(max(0, sent / rate - passed))
        name = "".join(random.choices(string.ascii_lowercase, k=LENGTH)) + ".example"
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(pattern.replace(PLACE.encode(), name.encode()))
        waiting.append(stream)
        sent += 1
        if len(waiting) == AT_ONCE:
            refused += is_refused(waiting.popleft())
    refused += sum(map(is_refused, waiting))
    print(sent, refused, time.perf_counter() - began)


def is_refused(stream):
    with stream:
        return stream.recv(64) == REFUSAL


def hello():
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=PLACE)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


if __name__ == "__main__":
    main()
