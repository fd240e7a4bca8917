"""gRPC through usher to an app server that speaks HTTP/2, by the library `grpcio` on both sides."""

import json
import sys
import time

import grpc
from score import Score

PORT = int(sys.argv[1])
score = Score()
channel = grpc.insecure_channel(f"127.0.0.1:{PORT}", [("grpc.default_authority", "customdomain1.com"),
                                                      ("grpc.max_receive_message_length", 2**24)])


def method(name, kind):
    return getattr(channel, kind)(f"/test.Shop/{name}")


def failure(call, *arguments, **more):
    try:
        return ("answered", call(*arguments, **more))
    except grpc.RpcError as error:
        return error


unary = method("Unary", "unary_unary")
answer, call = unary.with_call(b"abc", metadata=[("x-store-id", "2")], timeout=10)
score.add("a call", answer, {b"cba"})
score.add("its metadata in front", dict(call.initial_metadata()).get("x-initial"), {"first"})
trailing = dict(call.trailing_metadata())
score.add("its trailers", trailing.get("x-trailing-bin"), {b"\x00\xff"})
score.add("the store is told", trailing.get("x-store"), {"1"})
large = bytes(range(256)) * 2**12
score.add("a megabyte each way", unary(large, timeout=20) == large[::-1], {True})
score.add("an empty message", unary(b"", timeout=10), {b""})
score.add("500 calls", all(unary(str(n).encode(), timeout=10) == str(n).encode()[::-1] for n in range(500)), {True})
futures = [unary.future(str(n).encode(), timeout=10) for n in range(100)]
score.add("100 calls at once", [f.result() for f in futures], [[str(n).encode()[::-1] for n in range(100)]])

counted = method("Counted", "unary_stream")
score.add("a stream of answers", list(counted(b"1000", timeout=10)), [[str(n).encode() for n in range(1000)]])
score.add("an empty stream", list(counted(b"0", timeout=10)), [[]])
summed = method("Summed", "stream_unary")
score.add("a stream of questions", summed((str(n).encode() for n in range(1000)), timeout=10), {b"499500"})
echoed = method("Echoed", "stream_stream")
score.add("both ways", list(echoed(iter([b"a", b"b", b"c"]), timeout=10)), [[b"a", b"b", b"c"]])

# What the app saw of a call that has ended: the seconds that it was given, and those that it lasted.
fate = method("Fate", "unary_unary")
ticking, began = method("Ticking", "unary_stream")(b"", timeout=60), time.monotonic()
first = next(ticking)
score.add("a message as it comes", first == b"0" and time.monotonic() - began < 1, {True})
ticking.cancel()
given, lasted = json.loads(fate(b"", timeout=20))
score.add("a call that is taken back ends at the app", 50 < given <= 61 and lasted < 10, {True})

error = failure(method("Failing", "unary_unary"), b"", timeout=10)
score.add("an error", (error.code(), error.details()), {(grpc.StatusCode.FAILED_PRECONDITION, "nöt now")})
score.add("its trailers", dict(error.trailing_metadata()).get("x-why"), {"because"})
began = time.monotonic()
error = failure(method("Slow", "unary_unary"), b"", timeout=1)
score.add("a deadline", (error.code(), time.monotonic() - began < 2), {(grpc.StatusCode.DEADLINE_EXCEEDED, True)})
given, lasted = json.loads(fate(b"", timeout=20))
score.add("the app is told of it", 0 < given <= 1.02, {True})  # on the way it is rounded up to 10 ms
score.add("the app's call ends with it", lasted < 3, {True})
error = failure(method("Nothing", "unary_unary"), b"", timeout=10)
score.add("a method that does not exist", error.code(), {grpc.StatusCode.UNIMPLEMENTED})

stranger = grpc.insecure_channel(f"127.0.0.1:{PORT}", [("grpc.default_authority", "nobody.example")])
error = failure(stranger.unary_unary("/test.Shop/Unary"), b"", timeout=10)
score.add("a host that nobody owns", error.code(), {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND})
score.add("and calls go on", unary(b"on", timeout=10), {b"no"})

score.finish()
