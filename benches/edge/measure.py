"""CPU time of a process tree per request answered: the figure that survives a noisy machine."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import HOST, SMALL_BODY, Failed

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOG_DEADLINE_SECONDS = 5
HTTP2_CONNECTIONS = 16
HTTP2_STREAMS = 32
STEADY_AFTER_SECONDS = 1  # until then a load opens connections to the app anew: the one before was cut off in the midst

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": f"http://{HOST}/products/stoneware-cup",
    "Cookie": "session=0f9a3c1be27d4b5a8c6e; cart=3; consent=necessary",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}

WRK_SCRIPT = f'wrk.headers["Host"] = "{HOST}"\n' + "".join(
    f'wrk.headers["{name}"] = "{value}"\n' for name, value in BROWSER.items()
) + """
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('RESULT {"requests":%d,"bytes":%d,"microseconds":%d,"p50":%d,"p99":%d,"errors":%d}',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Work:
    """What is asked for, and the least that a right answer weighs."""

    name: str
    title: str
    path: str
    body_bytes: int
    http2: bool = False
    tls: bool = False
    handshakes: bool = False  # a connection of its own for every request
    resumed: bool = False  # the same, with a session that goes on


WORKS = [
    Work("small", "small page (150 B)", "/", len(SMALL_BODY)),
    Work("64k", "64 KiB body", "/64k", 65536),
    Work("h2", "small page, HTTP/2, 16 connections × 32 streams", "/", len(SMALL_BODY), http2=True),
    Work("tls", "small page, TLS 1.3, HTTP/1.1", "/", len(SMALL_BODY), tls=True),
    Work("tls-h2", "small page, TLS 1.3, HTTP/2, 16 connections × 32 streams", "/", len(SMALL_BODY), http2=True, tls=True),
    Work("handshake", "small page after a full handshake each (ECDSA P-256)", "/", len(SMALL_BODY), tls=True, handshakes=True),
    Work("resumed", "small page after a resumed handshake each", "/", len(SMALL_BODY), tls=True, resumed=True),
]


@dataclass(frozen=True)
class Figure:
    """One peer, one work, one round."""

    work: str
    peer: str
    round: int
    cpu_us_per_request: float
    cpu_seconds: float
    requests: int
    requests_per_second: float
    p50_us: int | None
    p99_us: int | None
    rss_bytes: int
    connections_opened: int | None  # to the app, of a peer that counts them
    connections_reused: int | None

    def raw(self):
        return asdict(self)


class Load:
    """wrk, or h2load for HTTP/2, on the core that it shares with the app server."""

    def __init__(self, directory, core, connections):
        self.script = directory / "browser.lua"
        self.script.write_text(WRK_SCRIPT)
        self.core = core
        self.connections = connections

    def run(self, peer, work, seconds):
        """Both generators name no server under TLS, since they are given an address; every peer has one certificate for that."""
        if work.resumed:
            return self.run_resuming(peer.tls_port, work.path, seconds)
        if work.http2:
            origin = f"https://127.0.0.1:{peer.tls_port}" if work.tls else f"http://127.0.0.1:{peer.http2_port}"
            return self.run_h2load(f"{origin}{work.path}", seconds)
        origin = f"https://127.0.0.1:{peer.tls_port}" if work.tls else f"http://127.0.0.1:{peer.port}"
        return self.run_wrk(f"{origin}{work.path}", seconds, ["--header", "Connection: close"] if work.handshakes else [])

    def run_wrk(self, url, seconds, more):
        command = ["wrk", "--threads", 1, "--connections", self.connections, "--duration", f"{seconds}s",
                   "--script", self.script, *more, url]
        said = self.said_by(command, seconds)
        results = [line for line in said.splitlines() if line.startswith("RESULT ")]
        if len(results) != 1:
            raise Failed(f"wrk gave no result:\n{said}")
        return json.loads(results[0].removeprefix("RESULT "))

    def run_resuming(self, port, path, seconds):
        """One connection after the other: neither wrk nor h2load keeps sessions."""
        command = [sys.executable, Path(__file__).parent / "resume.py", port, path, HOST, seconds, json.dumps(BROWSER)]
        said = self.said_by(command, seconds)
        results = [line for line in said.splitlines() if line.startswith("RESULT ")]
        if len(results) != 1:
            raise Failed(f"the client that resumes gave no result:\n{said}")
        return json.loads(results[0].removeprefix("RESULT "))

    def run_h2load(self, url, seconds):
        """A fixed time with prior knowledge; what is in flight at its end is answered and logged, but not counted."""
        fields = [f"--header={name.lower()}: {value}" for name, value in {":authority": HOST, **BROWSER}.items()]
        command = ["h2load", "--threads=1", f"--clients={HTTP2_CONNECTIONS}", f"--max-concurrent-streams={HTTP2_STREAMS}",
                   f"--duration={seconds}", *fields, url]
        said = self.said_by(command, seconds)
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        body = re.search(r"traffic: .*, \S+ \((\d+)\) data", said)
        if not counts or not body:
            raise Failed(f"h2load gave no result:\n{said}")
        succeeded, failed, errored, timeouts = map(int, counts.groups())
        return {"requests": succeeded, "bytes": int(body[1]), "microseconds": seconds * 1e6, "p50": None, "p99": None,
                "errors": failed + errored + timeouts}

    def said_by(self, command, seconds):
        pinned = ["taskset", "--cpu-list", self.core, *command]
        ran = subprocess.run(list(map(str, pinned)), capture_output=True, text=True, timeout=seconds + 30)
        if ran.returncode != 0:
            raise Failed(f"{command[0]} ended with code {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout


def measure(peer, work, load, seconds, round_number):
    """One figure; answers that are wrong, broken off or not in the log make the run invalid."""
    if peer.log:
        os.truncate(peer.log, 0)
    steady = []
    look = threading.Timer(STEADY_AFTER_SECONDS, lambda: steady.append(peer.connections()))
    before = cpu_seconds(peer.process.pid)
    look.start()
    result = load.run(peer, work, seconds)
    spent = cpu_seconds(peer.process.pid) - before
    look.join()
    opened, reused = since(steady[0], peer.connections())
    requests = result["requests"]
    refuse_bad(peer, work, result)
    if peer.log:
        refuse_unlogged(peer, requests)
    return Figure(
        work.name, peer.name, round_number, spent / requests * 1e6, spent, requests,
        requests / result["microseconds"] * 1e6, result["p50"], result["p99"], rss_bytes(peer.process.pid),
        opened, reused,
    )


def since(before, after):
    return (None, None) if after is None else tuple(late - early for early, late in zip(before, after))


def warm_up(peer, work, load, seconds):
    refuse_bad(peer, work, load.run(peer, work, seconds))


def refuse_bad(peer, work, result):
    """Errors of sockets and statuses from 400 are counted by the load generator; a redirect would be too small for the right answer."""
    if result["errors"]:
        raise Failed(f"{peer.name}, {work.title}: {result['errors']} errors among {result['requests']} requests")
    if result["requests"] == 0 or result["bytes"] < result["requests"] * work.body_bytes:
        raise Failed(f"{peer.name}, {work.title}: {result['requests']} answers in only {result['bytes']} bytes")


def refuse_unlogged(peer, requests):
    """Every answer has its line as soon as the buffers are flushed: a log that drops lines would be cheaper."""
    deadline = time.monotonic() + LOG_DEADLINE_SECONDS
    while (lines := count_lines(peer.log)) < requests:
        if time.monotonic() > deadline:
            raise Failed(f"{peer.name} logged {lines} of {requests} requests")
        time.sleep(0.2)


def count_lines(path):
    with open(path, "rb") as log:
        return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))


def cpu_seconds(pid):
    """User and system time of the process, all its threads, and its children, living and waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for fields in stat_of_tree(pid))
    return ticks / TICKS_PER_SECOND


def rss_bytes(pid):
    pages = sum(int(fields[21]) for fields in stat_of_tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


def stat_of_tree(pid):
    """The fields of /proc/<pid>/stat that follow the command's name, for the process and its descendants."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue  # ended meanwhile
        stats[int(path.parent.name)] = text.rpartition(")")[2].split()
    tree, frontier = [], [pid]
    while frontier:
        parent = frontier.pop()
        tree.append(stats[parent])
        frontier += [child for child, fields in stats.items() if int(fields[1]) == parent]
    return tree
