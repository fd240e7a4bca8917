"""HTTP/2 as frames on a socket: nothing is corrected, so that what no honest library would send can be sent."""

import socket
import struct
import time

from hpack import Decoder, Encoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST = range(1, 7)

ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
          "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def error_name(code):
    return ERRORS[code] if code < len(ERRORS) else str(code)


class Connection:
    """One connection, and all that the other side said on it so far."""

    def __init__(self, port, *pairs, greet=True, seconds=5, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seconds = seconds
        self.encoder, self.decoder = Encoder(), Decoder()
        self.unread = b""
        self.block = b""
        self.statuses, self.bodies, self.ended, self.resets = {}, {}, set(), {}
        self.goaway = None
        self.closed = False
        self.pongs = 0
        if greet:
            self.send(PREFACE + settings(*pairs))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts):
        """What was refused before it was all sent has been answered, and the answer will be read."""
        try:
            self.socket.sendall(b"".join(parts))
            return True
        except OSError:
            return False

    def encode(self, fields):
        return self.encoder.encode(fields, huffman=False)

    def headers(self, stream, fields, end=True):
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encode(fields))

    def outcome(self, stream):
        """What became of a stream: a status, the name of an error of the stream or of the connection, or the end."""
        self.read(lambda: stream in self.ended or stream in self.resets)
        if stream in self.resets and self.statuses.get(stream) is None:
            return f"RST_STREAM {error_name(self.resets[stream])}"
        if stream in self.statuses:
            return self.statuses[stream]
        return self.end()

    def end(self):
        """How the connection ends, if it does."""
        self.read(lambda: self.goaway is not None)
        if self.goaway is not None:
            return f"GOAWAY {error_name(self.goaway)}"
        return "closed" if self.closed else "open"

    def read(self, enough):
        deadline = time.monotonic() + self.seconds
        while not self.closed and not enough() and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                part = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                part = b""
            self.closed = not part
            self.unread += part
            self.take_frames()

    def take_frames(self):
        while len(self.unread) >= 9:
            length = int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self.unread[3:9])
            payload, self.unread = self.unread[9:9 + length], self.unread[9 + length:]
            self.take(kind, flags, stream, payload)

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind in (HEADERS, CONTINUATION):
            self.take_block(flags, stream, payload)
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY and self.goaway is None:
            self.goaway = int.from_bytes(payload[4:8], "big")
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(stream)

    def take_block(self, flags, stream, payload):
        self.block += payload
        if not flags & END_HEADERS:
            return
        try:
            fields = dict(self.decoder.decode(self.block, raw=False))
        except HPACKError as error:
            raise AssertionError(f"usher sent a header block that cannot be decoded: {error}") from error
        self.block = b""
        if ":status" in fields:
            self.statuses[stream] = int(fields[":status"])


def request(path, method="GET", authority="customdomain1.com", *more):
    pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
    return pseudo + list(more)
