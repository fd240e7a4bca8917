"""A stand-in for the platform's app: it takes the store from X-Store-Id, because only usher can have written it."""

import json
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({
            "store": self.headers.get("X-Store-Id"),
            "matched": self.headers.get("X-Store-Match"),
            "path": self.path,
            "app_server": socket.gethostname(),
            "headers": dict(self.headers),
        }, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # usher writes the access log


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), App).serve_forever()
