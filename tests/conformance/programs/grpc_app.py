"""A gRPC server from the library `grpcio`, without generated code: messages are octets. Prints its port."""

import json
import queue
import time
from concurrent import futures

import grpc

ended = queue.Queue()


def watch(context):
    """Notes, once the call has ended, the seconds that its client gave it and those that it lasted."""
    given, began = context.time_remaining(), time.monotonic()
    context.add_callback(lambda: ended.put((given, time.monotonic() - began)))


def unary(message, context):
    told = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-store", told.get("x-store-id", "none")), ("x-trailing-bin", b"\x00\xff")))
    return message[::-1]


def counted(message, _):
    for number in range(int(message)):
        yield str(number).encode()


def ticking(_, context):
    watch(context)
    for number in range(1000):
        if not context.is_active():
            return
        yield str(number).encode()
        time.sleep(0.1)


def summed(messages, _):
    return str(sum(map(int, messages))).encode()


def echoed(messages, _):
    yield from messages


def failing(_, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nöt now")


def slow(_, context):
    watch(context)
    time.sleep(5)
    return b"late"


def fate(_, __):
    """What was noted of the next call that was watched."""
    return json.dumps(ended.get(timeout=10)).encode()


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Failing": grpc.unary_unary_rpc_method_handler(failing),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Fate": grpc.unary_unary_rpc_method_handler(fate),
    "Counted": grpc.unary_stream_rpc_method_handler(counted),
    "Ticking": grpc.unary_stream_rpc_method_handler(ticking),
    "Summed": grpc.stream_unary_rpc_method_handler(summed),
    "Echoed": grpc.stream_stream_rpc_method_handler(echoed),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Shop", HANDLERS)])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
