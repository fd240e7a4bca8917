"""HTTP/2 by Python's `h2`, a library that checks all that it is sent: requests, uploads, trailers, a WebSocket, and the drain.

The app that the test puts behind usher says at /slow that it has begun, and answers a moment later. For the library a connection
is over with its GOAWAY, whatever still runs on it (RFC 9113 §6.8); what comes from then on is read by its parser alone.
"""

import json
import os
import signal
import socket
import sys
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (ConnectionTerminated, DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded,
                       StreamReset, TrailersReceived)
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, PingFrame
from score import Score

PORT, PROCESS = int(sys.argv[1]), int(sys.argv[2])
UPLOAD = 3_000_000
SECONDS = 20
score = Score()


class Answer:
    """What came on one stream so far."""

    def __init__(self):
        self.status, self.body, self.trailers, self.ended = None, b"", {}, False


class Client:
    """One connection; whatever breaks the rules of HTTP/2 is an exception of the library."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=SECONDS)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.answers, self.farewell, self.settings, self.closed, self.unread = {}, None, {}, False, b""
        self.h2.initiate_connection()
        self.flush()
        self.read(lambda: self.settings)

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path, method="GET", more=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "customdomain1.com"), (":path", path), *more]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        self.answers[stream] = Answer()
        return stream

    def upload(self, stream, body, trailers=None):
        """Sends as much at once as usher's windows allow, and waits for more."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            if room == 0:
                self.read(lambda: self.h2.local_flow_control_window(stream) > 0)
                continue
            self.h2.send_data(stream, body[:room], end_stream=room == len(body) and trailers is None)
            self.flush()
            body = body[room:]
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)
            self.flush()

    def read(self, enough):
        deadline = time.monotonic() + SECONDS
        while not enough() and not self.closed:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self.socket.recv(65536)
            self.closed = not part
            self.unread += part
            while len(self.unread) >= 9 and len(self.unread) >= 9 + int.from_bytes(self.unread[:3], "big"):
                length = 9 + int.from_bytes(self.unread[:3], "big")
                whole, self.unread = self.unread[:length], self.unread[length:]
                self.take_frame(whole)

    def take_frame(self, whole):
        if self.farewell is None:
            for event in self.h2.receive_data(whole):
                self.take(event)
            return self.flush()
        frame, _length = Frame.parse_frame_header(memoryview(whole)[:9])
        frame.parse_body(memoryview(whole)[9:])
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.socket.sendall(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
        elif isinstance(frame, DataFrame):
            self.answers[frame.stream_id].body += frame.data
        if "END_STREAM" in frame.flags:
            self.answers[frame.stream_id].ended = True

    def take(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, ResponseReceived):
            answer.status = int(dict(event.headers)[":status"])
        elif isinstance(event, DataReceived):
            answer.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, (StreamEnded, StreamReset)):
            answer.ended = True
        elif isinstance(event, RemoteSettingsChanged):
            self.settings |= {code: change.new_value for code, change in event.changed_settings.items()}
        elif isinstance(event, ConnectionTerminated):
            self.farewell = event

    def answer(self, stream):
        answer = self.answers[stream]
        self.read(lambda: answer.ended)
        return answer


client = Client()
score.add("streams at once", client.settings.get(SettingCodes.MAX_CONCURRENT_STREAMS), {128})
score.add("extended CONNECT is allowed", client.settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), {1})

streams = [client.ask(f"/echo/{number}") for number in range(100)]
answers = [client.answer(stream) for stream in streams]
score.add("100 requests at once", {answer.status for answer in answers} == {200}, {True})
lines = [json.loads(answer.body)["line"] for answer in answers]
score.add("each has its own answer", lines == [f"GET /echo/{number} HTTP/1.1" for number in range(100)], {True})

stream = client.ask("/echo/upload", "POST", [("content-length", str(UPLOAD))], end=False)
client.upload(stream, b"x" * UPLOAD)
score.add("an upload larger than the windows", json.loads(client.answer(stream).body)["body_length"], {UPLOAD})

streams = [client.ask("/echo/upload", "POST", end=False) for _ in range(4)]
for stream in streams:
    client.upload(stream, b"x" * 500_000)
lengths = {json.loads(client.answer(stream).body)["body_length"] for stream in streams}
score.add("four uploads without a length", lengths == {500_000}, {True})

stream = client.ask("/echo/trailers", "POST", [("trailer", "x-sum"), ("te", "trailers")], end=False)
client.upload(stream, b"abcd", [("x-sum", "7")])
score.add("trailers to the app", client.answer(stream).status, {200})

answer = client.answer(client.ask("/trailers", more=[("te", "trailers")]))
score.add("trailers of the app", (answer.body, answer.trailers), [(b"abcde", {"x-sum": "7"})])

answer = client.answer(client.ask("/large"))
score.add("an answer larger than the windows", (answer.status, len(answer.body)), [(200, 1_000_000)])

answer = client.answer(client.ask("/echo", "HEAD"))
score.add("HEAD has no body", (answer.status, answer.body), [(200, b"")])

tunnel = client.ask("/live", "CONNECT", [(":protocol", "websocket"), ("sec-websocket-version", "13")], end=False)
client.read(lambda: client.answers[tunnel].status)
score.add("RFC 8441 extended CONNECT", client.answers[tunnel].status, {200})
client.upload(tunnel, b"there and back")
answer = client.answer(tunnel)
score.add("RFC 8441 both directions and their ends", answer.body, {b"there and back"})

running = client.ask("/slow")
client.read(lambda: client.answers[running].body)
os.kill(PROCESS, signal.SIGTERM)
answer = client.answer(running)
score.add("the drain finishes what runs", (answer.status, answer.body), [(200, b"begun and done")])
client.read(lambda: client.closed)
score.add("GOAWAY at the drain", client.farewell and client.farewell.error_code, {0})
score.add("the connection ends", client.closed, {True})

score.finish()
