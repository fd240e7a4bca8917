"""A client that keeps its session: a connection per request, each but the first with a resumed handshake (TLS 1.3). Prints the
same line as the script of wrk. Run as a program, since it has a core of its own like the other load generators."""

import json
import socket
import ssl
import sys
import time


def main():
    port, path, host, seconds, fields = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]), json.loads(sys.argv[5])
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session, _, _ = ask(context, port, host, request, None)
    times, size, errors = [], 0, 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        session, answer, is_resumed = ask(context, port, host, request, session)
        times.append(time.perf_counter() - started)
        size += len(answer)
        errors += not (is_resumed and answer.startswith(b"HTTP/1.1 200"))
    took = time.perf_counter() - began
    times.sort()
    quantile = lambda share: int(times[int(len(times) * share)] * 1e6)  # noqa: E731
    print("RESULT", json.dumps({"requests": len(times), "bytes": size, "microseconds": int(took * 1e6),
                                "p50": quantile(0.5), "p99": quantile(0.99), "errors": errors}))


def ask(context, port, host, request, session):
    """The session to go on with, the whole answer, and whether the handshake was a resumed one."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain, server_hostname=host, session=session, suppress_ragged_eofs=True) as stream:
            stream.sendall(request)
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
            return stream.session, answer, stream.session_reused


if __name__ == "__main__":
    main()
