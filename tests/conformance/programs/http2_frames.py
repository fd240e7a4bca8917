"""RFC 9113 §3 to §6 and RFC 7541: frames that break the rules end the stream or the connection with the right error."""

import struct
import sys

from frames import (ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW,
                    MAX_FRAME, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                    Connection, error_name, frame, request, reset, settings, window_update)
from score import Score

PORT = int(sys.argv[1])
score = Score()


def connection_error(name, *codes, before=None, send=None, greet=True, pairs=()):
    """An error of the connection; §5.4.1 lets an endpoint that is in trouble close without a GOAWAY.

    Where the connection ends and only the name of the error is a more general one, no harm is done.
    """
    with Connection(PORT, *pairs, greet=greet) as connection:
        if before:
            before(connection)
        connection.send(*(send(connection) if callable(send) else send))
        score.add(name, connection.end(), {f"GOAWAY {code}" for code in codes} | {"closed"}, {"GOAWAY PROTOCOL_ERROR"})


def stream_error(name, *codes, send):
    """An error of a stream; §5.4 allows to treat it as one of the connection."""
    with Connection(PORT) as connection:
        connection.send(*send(connection))
        connection.read(lambda: 1 in connection.resets or connection.goaway is not None)
        came = connection.resets.get(1, connection.goaway)
        score.add(name, error_name(came) if came is not None else "nothing", set(codes))


def ignored(name, send):
    with Connection(PORT) as connection:
        connection.send(*send(connection), connection.headers(1, request("/served/ignored")))
        score.add(name, connection.outcome(1), {200})


def open_stream(connection, stream=1, path="/served/open", end=False):
    connection.send(connection.headers(stream, request(path, "POST"), end=end))


def answered(connection):
    open_stream(connection, end=True)
    connection.outcome(1)


def one(kind, flags=0, stream=0, payload=b""):
    return lambda _: [frame(kind, flags, stream, payload)]


def block(connection, path="/refused"):
    return connection.encode(request(path))


P, F, S, C, W = "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "STREAM_CLOSED", "COMPRESSION_ERROR", "FLOW_CONTROL_ERROR"

connection_error("§4.2 a frame beyond the largest size", F, send=one(DATA, 0, 1, bytes(16385)), before=open_stream)
connection_error("§4.2 a HEADERS frame beyond the largest size", F, send=one(HEADERS, END_HEADERS, 1, bytes(16385)))
ignored("§4.1 a frame of a type that does not exist", one(0x16, 0xff, 0, b"whatever"))
ignored("§4.1 a frame of a type that does not exist, on a stream", one(0x16, 0xff, 3, b"whatever"))
ignored("§4.1 reserved bits", lambda _: [frame(PING, 0xfe, 0x80000000, bytes(8))])
connection_error("§4.3 a header block that cannot be decoded", C, send=one(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"))
connection_error("§4.3 another frame within a header block", P,
                 send=lambda c: [frame(HEADERS, END_STREAM, 1, block(c)), frame(PING, 0, 0, bytes(8))])
connection_error("§4.3 another stream within a header block", P,
                 send=lambda c: [frame(HEADERS, END_STREAM, 1, block(c)), frame(CONTINUATION, END_HEADERS, 3, b"")])
connection_error("§5.1 DATA on an idle stream", P, S, send=one(DATA, END_STREAM, 1, b"x"))
connection_error("§5.1 RST_STREAM on an idle stream", P, send=[reset(1)])
connection_error("§5.1 WINDOW_UPDATE on an idle stream", P, send=[window_update(1, 1)])
connection_error("§5.1 CONTINUATION on an idle stream", P, send=one(CONTINUATION, END_HEADERS, 1, b"x"))
stream_error("§5.1 DATA after END_STREAM", S, P,
             send=lambda c: [c.headers(1, request("/served/closed", "POST")), frame(DATA, END_STREAM, 1, b"x")])
stream_error("§5.1 HEADERS after END_STREAM", S, P,
             send=lambda c: [c.headers(1, request("/served/closed")), c.headers(1, request("/refused"))])
connection_error("§5.1.1 an even stream", P, send=lambda c: [c.headers(2, request("/refused"))])
connection_error("§5.1.1 a stream below the last one", P, S,
                 send=lambda c: [c.headers(5, request("/served/five")), c.headers(3, request("/refused"))])
connection_error("§6.1 DATA on the connection", P, send=one(DATA, 0, 0, b"x"))
connection_error("§6.1 padding beyond the frame", P, before=open_stream, send=one(DATA, PADDED, 1, b"\x05ab"))
connection_error("§6.2 HEADERS on the connection", P, send=lambda c: [frame(HEADERS, END_HEADERS, 0, block(c))])
connection_error("§6.2 padding beyond the frame", P, send=lambda c: [frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block(c))])
ignored("§6.3 PRIORITY", one(PRIORITY, 0, 3, struct.pack(">IB", 1, 15)))
stream_error("§6.3 PRIORITY of another length", F, P, send=one(PRIORITY, 0, 1, b"xxxx"))
connection_error("§6.4 RST_STREAM on the connection", P, send=[reset(0)])
connection_error("§6.4 RST_STREAM of another length", F, before=open_stream, send=one(RST_STREAM, 0, 1, b"xxx"))
connection_error("§6.5 SETTINGS on a stream", P, send=one(SETTINGS, 0, 1))
connection_error("§6.5 SETTINGS of another length", F, send=one(SETTINGS, 0, 0, b"xxx"))
connection_error("§6.5 an acknowledgement with content", F, send=one(SETTINGS, ACK, 0, bytes(6)))
connection_error("§6.5.2 ENABLE_PUSH of 2", P, send=[settings((ENABLE_PUSH, 2))])
connection_error("§6.5.2 a window beyond the largest", W, send=[settings((INITIAL_WINDOW, 2**31))])
connection_error("§6.5.2 a largest frame that is too small", P, send=[settings((MAX_FRAME, 16383))])
connection_error("§6.5.2 a largest frame that is too large", P, send=[settings((MAX_FRAME, 2**24))])
ignored("§6.5.2 a setting that does not exist", lambda _: [settings((0xff, 1))])
connection_error("§6.6 PUSH_PROMISE from a client", P, before=open_stream,
                 send=lambda c: [frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block(c))])
connection_error("§6.7 PING on a stream", P, send=one(PING, 0, 1, bytes(8)))
connection_error("§6.7 PING of another length", F, send=one(PING, 0, 0, bytes(6)))
connection_error("§6.8 GOAWAY on a stream", P, send=one(GOAWAY, 0, 1, bytes(8)))
connection_error("§6.9 an increment of nothing on the connection", P, send=[window_update(0, 0)])
stream_error("§6.9 an increment of nothing on a stream", P,
             send=lambda c: [c.headers(1, request("/served/open", "POST"), end=False), window_update(1, 0)])
connection_error("§6.9 WINDOW_UPDATE of another length", F, send=one(WINDOW_UPDATE, 0, 0, b"xxx"))
connection_error("§6.9.1 a window of the connection that overflows", W, send=[window_update(0, 2**31 - 1)] * 2)
stream_error("§6.9.1 a window of a stream that overflows", W,
             send=lambda c: [c.headers(1, request("/served/open", "POST"), end=False), *[window_update(1, 2**31 - 1)] * 2])
connection_error("§6.10 CONTINUATION behind a complete block", P, before=answered, send=one(CONTINUATION, END_HEADERS, 1, b"x"))
connection_error("§6.10 CONTINUATION behind DATA", P,
                 send=lambda c: [c.headers(1, request("/served/open", "POST"), end=False), frame(DATA, 0, 1, b"x"),
                                 frame(CONTINUATION, END_HEADERS, 1, b"")])
connection_error("RFC 7541 §2.3.3 an index that does not exist", C, send=one(HEADERS, END_HEADERS | END_STREAM, 1, b"\xfe"))
connection_error("RFC 7541 §6.1 an index of nothing", C, send=one(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"))
connection_error("RFC 7541 §6.3 a table beyond the setting", C,
                 send=lambda c: [frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\x03" + block(c))])
connection_error("RFC 7541 §5.2 Huffman padding of a whole octet", C,
                 send=lambda c: [frame(HEADERS, END_HEADERS | END_STREAM, 1, block(c) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")])

with Connection(PORT, greet=False) as hasty:
    hasty.send(PREFACE, frame(PING, 0, 0, bytes(8)))
    hasty.seconds = 1
    score.add("§3.4 the first frame is no SETTINGS", hasty.end(), {"GOAWAY PROTOCOL_ERROR", "closed"})
with Connection(PORT) as ponging:
    ponging.send(frame(PING, 0, 0, b"12345678"))
    ponging.read(lambda: ponging.pongs)
    score.add("§6.7 a PING is answered", ponging.pongs, {1})
with Connection(PORT, (INITIAL_WINDOW, 0)) as starved:
    starved.send(starved.headers(1, request("/served/window")))
    starved.seconds = 1
    starved.read(lambda: starved.bodies.get(1))
    score.add("§6.9.2 nothing is sent into a window of nothing", len(starved.bodies.get(1, b"")), {0})
    starved.send(settings((INITIAL_WINDOW, 65535)))
    score.add("§6.9.2 and all of it once the window is opened", starved.outcome(1), {200})
with Connection(PORT) as split:
    fields = split.encode(request("/served/continuation"))
    split.send(frame(HEADERS, END_STREAM, 1, fields[:5]), frame(CONTINUATION, 0, 1, b""),
               frame(CONTINUATION, 0, 1, fields[5:6]), frame(CONTINUATION, END_HEADERS, 1, fields[6:]))
    score.add("§6.10 a block in pieces", split.outcome(1), {200})

score.finish()
