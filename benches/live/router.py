"""A router under test, what it counts, and a client that asks one thing after another on one connection."""

import base64
import http.client
import ssl
import time

from certificate import HOST
from peers import Failed, Process, free_port

PATIENCE_SECONDS = 10


class Router:
    binary = None
    # Its own, where there is more than one: what else runs is no part of what is measured.
    core = None

    def __init__(self, directory, database, app, number=0, more="", certificate=None):
        self.port, self.tls_port, self.admin = free_port(), free_port(), free_port()
        tls = "" if certificate is None else tls_section(directory, self.tls_port, certificate)
        config = directory / f"usher-{number}.toml"
        config.write_text(f"""
[listen]
http = ["127.0.0.1:{self.port}"]
connections_per_client_max = 100000
requests_per_client_max = 100000
connection_requests_max = 1000000000
{tls}
[admin]
listen = "127.0.0.1:{self.admin}"

[routing]
platform_domains = ["platform.com"]

[directory]
url = "{database.url}"
{more}

[upstreams.default]
servers = ["http://127.0.0.1:{app.port}"]

[log]
access = "{directory}/access-{number}.log"
""")
        self.process = Process(f"usher-{number}", [self.binary, "serve", "--config", config], self.core, directory)
        self.process.wait_for(self.port)
        self.wait(lambda: self.metric("usher_directory_following") == 1)

    def wait(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds} s; {self.process.said()}")
            time.sleep(0.01)

    def metric(self, name, label=""):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        series = [row for row in text.splitlines() if row.startswith(name) and row[len(name)] in " {" and label in row]
        return sum(float(row.rsplit(" ", 1)[1]) for row in series)

    def queries(self):
        """For tenants and for certificates, so far."""
        return sum(self.metric(name) for name in ("usher_directory_queries_total", "usher_tls_certificate_loads_total"))

    def client(self, tls=False):
        return TlsClient(self.tls_port) if tls else Client(self.port)

    def stop(self):
        self.process.stop()


def tls_section(directory, port, certificate):
    """With keys, for certificates in the database. Without, a name that no file has is refused, and nobody asked whose it is."""
    keys = directory / "keys"
    keys.write_text(f"k:{base64.b64encode(bytes(32)).decode()}\n")
    return f"""
https = ["127.0.0.1:{port}"]
[tls]
certificates = [{{ certificate = "{certificate.chain}", key = "{certificate.key}" }}]
encryption_keys_file = "{keys}"
"""


class Client:
    """Keeps its connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def get(self, host, path="/echo"):
        """Status, body, and the seconds it took."""
        began = time.perf_counter()
        self.connection.request("GET", path, headers={"Host": host})
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, body, time.perf_counter() - began

    def close(self):
        self.connection.close()


class TlsClient(Client):
    """The same under TLS, in one handshake."""

    def __init__(self, port):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.connection = Named("127.0.0.1", port, timeout=PATIENCE_SECONDS, context=context)


class Named(http.client.HTTPSConnection):
    """Goes to this machine and asks for the name of the certificate."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=HOST)
