"""Many connections that do little: what each of them costs in memory while idle, and in CPU time when it asks now and then."""

import select
import socket
import ssl
import struct
import time
from dataclasses import asdict, dataclass

from measure import BROWSER, cpu_seconds, rss_bytes
from peers import HOST, SMALL_BODY, Failed

IDLE_SECONDS = 10  # usher parks a connection after half a second, and gives memory back to the system in the seconds after
DEADLINE_SECONDS = 30
AT_ONCE = 64  # requests in flight while the crowd is built: no peer has to hold more connections to the app
ADDRESSES = 50  # the crowd comes from 127.0.0.2 and following, so that neither source ports nor a limit per address end it
IP_BIND_ADDRESS_NO_PORT = 24

REQUEST = "".join([f"GET / HTTP/1.1\r\nHost: {HOST}\r\n", *(f"{n}: {v}\r\n" for n, v in BROWSER.items()), "\r\n"]).encode()
BODY = SMALL_BODY.encode()


class Outpaced(Failed):
    """The proxy, or the load generator beside it, did not keep up with a request a second from everybody."""


@dataclass(frozen=True)
class CrowdFigure:
    """One peer, one round; without a figure for requests where somebody did not keep up."""

    kind: str
    peer: str
    round: int
    connections: int
    bytes_per_idle_connection: int
    rss_bytes_before: int
    rss_bytes_idle: int
    cpu_us_per_request: float | None
    requests: int | None

    def raw(self):
        return asdict(self)


class Crowd:
    """Keep-alive connections to one port, each with one request behind it, in clear text or under TLS."""

    def __init__(self, port, count, tls=None):
        self.tls = tls
        self.poller = select.epoll()
        self.members = {}
        self.received = {}
        self.answered = 0
        try:
            self.gather(port, count)
        except BaseException:
            self.leave()
            raise

    def gather(self, port, count):
        for number in range(count):
            self.ask(self.join(port, number))
            if len(self.received) >= AT_ONCE:
                self.listen(lambda: len(self.received) < AT_ONCE)
        self.listen(lambda: not self.received)

    def join(self, port, number):
        member = socket.socket()
        member.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        # Without TIME_WAIT at the end: the next crowd needs the ports.
        member.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        member.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
        member.connect(("127.0.0.1", port))
        if self.tls:
            member = self.tls.wrap_socket(member)
        member.setblocking(False)
        self.members[member.fileno()] = member
        self.poller.register(member, select.EPOLLIN)
        return member

    def ask(self, member):
        if member.fileno() in self.received:
            raise Outpaced("a connection was still waiting for an answer when its next request was due")
        self.received[member.fileno()] = b""
        if member.send(REQUEST) != len(REQUEST):
            raise Failed("a connection did not take a whole request")

    def listen(self, enough):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not enough():
            if time.monotonic() > deadline:
                raise Failed(f"{len(self.received)} of {len(self.members)} connections got no answer")
            self.hear(0.1)

    def hear(self, seconds):
        for descriptor, _ in self.poller.poll(seconds):
            try:
                part = self.members[descriptor].recv(65536)
            except ssl.SSLWantReadError:
                continue  # a ticket, or half a record
            answer = self.received.get(descriptor, b"") + part
            if not part or not answer.startswith(b"HTTP/1.1 200"):
                raise Failed(f"a connection of the crowd got {answer[:100]!r} and {'more' if part else 'its end'}")
            if answer.endswith(BODY):
                del self.received[descriptor]
                self.answered += 1
            else:
                self.received[descriptor] = answer

    def ask_each_second(self, seconds):
        """One request a second from each member, spread evenly; returns the answers."""
        members, before, began = list(self.members.values()), self.answered, time.monotonic()
        for due in range(seconds * len(members)):
            while (left := began + due / len(members) - time.monotonic()) > 0:
                self.hear(left)
            self.ask(members[due % len(members)])
            if due % AT_ONCE == 0:
                self.hear(0)
        self.listen(lambda: not self.received)
        took = time.monotonic() - began
        if took > seconds * 1.1:
            raise Outpaced(f"the load generator needed {took:.1f} s for the requests of {seconds} s")
        return self.answered - before

    def leave(self):
        for member in self.members.values():
            member.close()
        self.poller.close()


def trusting():
    """Takes any certificate: what is measured is the other side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def measure_crowd(peer, count, seconds, round_number, tls=False):
    """What `count` connections cost a peer that has just been started."""
    port, context = (peer.tls_port, trusting()) if tls else (peer.port, None)
    Crowd(port, AT_ONCE, context).leave()  # what every process needs for its first requests is no connection's
    before = rss_bytes(peer.process.pid)
    crowd = Crowd(port, count, context)
    try:
        time.sleep(IDLE_SECONDS)
        idle = rss_bytes(peer.process.pid)
        cost, requests = cost_of_asking(peer, crowd, seconds)
    finally:
        crowd.leave()
    return CrowdFigure(
        "tls" if tls else "plain", peer.name, round_number, count, (idle - before) // count, before, idle, cost, requests
    )


def cost_of_asking(peer, crowd, seconds):
    """CPU time per request in microseconds, and the requests; the memory of a crowd counts without them too."""
    spent = cpu_seconds(peer.process.pid)
    try:
        requests = crowd.ask_each_second(seconds)
    except Outpaced as problem:
        print(f"{peer.title}: {problem}", flush=True)
        return None, None
    return (cpu_seconds(peer.process.pid) - spent) / requests * 1e6, requests
