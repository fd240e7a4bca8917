"""CPU time of a process tree per request answered: the figure that survives a noisy machine."""

import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import HOST, SMALL_BODY, Failed

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOG_DEADLINE_SECONDS = 5

WRK_SCRIPT = """
wrk.headers["Host"] = "%s"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Referer"] = "http://%s/products/stoneware-cup"
wrk.headers["Cookie"] = "session=0f9a3c1be27d4b5a8c6e; cart=3; consent=necessary"
wrk.headers["Upgrade-Insecure-Requests"] = "1"
wrk.headers["Sec-Fetch-Dest"] = "document"
wrk.headers["Sec-Fetch-Mode"] = "navigate"
wrk.headers["Sec-Fetch-Site"] = "same-origin"

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('RESULT {"requests":%%d,"bytes":%%d,"microseconds":%%d,"p50":%%d,"p99":%%d,"errors":%%d}',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
""" % (HOST, HOST)


@dataclass(frozen=True)
class Work:
    """What is asked for, and the least that a right answer weighs."""

    name: str
    title: str
    path: str
    body_bytes: int


WORKS = [
    Work("small", "small page (150 B)", "/", len(SMALL_BODY)),
    Work("64k", "64 KiB body", "/64k", 65536),
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
    p50_us: int
    p99_us: int
    rss_bytes: int

    def raw(self):
        return asdict(self)


class Load:
    """wrk on the core that it shares with the app server."""

    def __init__(self, directory, core, connections):
        self.script = directory / "browser.lua"
        self.script.write_text(WRK_SCRIPT)
        self.core = core
        self.connections = connections

    def run(self, port, work, seconds):
        command = ["taskset", "--cpu-list", self.core, "wrk", "--threads", 1, "--connections", self.connections,
                   "--duration", f"{seconds}s", "--script", self.script, f"http://127.0.0.1:{port}{work.path}"]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 30)
        results = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
        if ran.returncode != 0 or len(results) != 1:
            raise Failed(f"wrk ended with code {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return json.loads(results[0].removeprefix("RESULT "))


def measure(peer, work, load, seconds, round_number):
    """One figure; answers that are wrong, broken off or not in the log make the run invalid."""
    if peer.log:
        os.truncate(peer.log, 0)
    before = cpu_seconds(peer.process.pid)
    result = load.run(peer.port, work, seconds)
    spent = cpu_seconds(peer.process.pid) - before
    requests = result["requests"]
    refuse_bad(peer, work, result)
    if peer.log:
        refuse_unlogged(peer, requests)
    return Figure(
        work.name, peer.name, round_number, spent / requests * 1e6, spent, requests,
        requests / result["microseconds"] * 1e6, result["p50"], result["p99"], rss_bytes(peer.process.pid),
    )


def warm_up(peer, work, load, seconds):
    refuse_bad(peer, work, load.run(peer.port, work, seconds))


def refuse_bad(peer, work, result):
    """Errors of sockets and statuses from 400 are counted by wrk; a redirect would be too small for the right answer."""
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
