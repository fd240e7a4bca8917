"""An app server that speaks WebSocket, from the library `websockets`. Prints its port."""

import http
import sys

from websockets.sync.server import serve


def talk(connection):
    path = connection.request.path
    if path == "/goodbye":
        connection.close(4001, "goodbye")
        return
    if path == "/headers":
        fields = connection.request.headers
        connection.send("\n".join(f"{name.lower()}: {value}" for name, value in fields.raw_items()))
    for message in connection:
        connection.send(message)


def refuse(connection, request):
    if request.path == "/refused":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
    return None


def choose(_, offered):
    return "superchat" if "superchat" in offered else None


with serve(talk, "127.0.0.1", 0, process_request=refuse, select_subprotocol=choose, max_size=2**24) as server:
    print(server.socket.getsockname()[1], flush=True)
    sys.stdout.close()
    server.serve_forever()
