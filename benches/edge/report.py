"""What was measured, as raw figures, as a table and as a plot."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from statistics import median

from peers import PEERS, first_line
from plot import plot

REFERENCES = ["nginx", "haproxy"]
REUSE_EXPECTED = 0.999
CROWD_REFERENCES = ["usher-unparked", *REFERENCES]


class Report:
    """The figures of one run and the circumstances they were taken under."""

    def __init__(self, peers, works, logging, options):
        self.peers = [PEERS[name] for name in peers]
        self.works = works
        self.logging = logging
        self.figures = []
        self.crowds = []
        self.options = options
        self.circumstances = circumstances(peers)

    def add(self, figure):
        self.figures.append(figure)

    def add_crowd(self, figure):
        self.crowds.append(figure)

    def write(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        stem = "edge" if self.logging else "edge-no-log"
        raw = {"circumstances": self.circumstances, "options": self.options,
               "figures": [figure.raw() for figure in self.figures],
               "crowds": [figure.raw() for figure in self.crowds]}
        (directory / f"{stem}.json").write_text(json.dumps(raw, indent=1) + "\n")
        (directory / f"{stem}.md").write_text(self.markdown(stem))
        (directory / f"{stem}.svg").write_text(plot(self.subtitle(), self.bars()))
        return directory / f"{stem}.md"

    def markdown(self, stem):
        return "\n".join([
            "# Side by side", "", f"![CPU time per request]({stem}.svg)", "",
            "## CPU time per request", "", self.subtitle() + ".", "", *self.table(), "",
            *self.parking(),
            *self.reuse(),
            *self.crowd_sections(),
            "Ratios are taken within each round (in their order) and the last figure is their median; below 1 the proxy "
            "of the row is cheaper. Requests per second and p99 are medians for orientation only: they depend on the "
            "load generator, which shares its core with the app server. RSS is the largest seen.", "",
            *[f"- {name}: {value}" for name, value in self.circumstances.items()],
            f"- raw figures: [{stem}.json]({stem}.json)", "",
        ])

    def subtitle(self):
        log = "access log on" if self.logging else "no access log"
        return (f"HTTP/1.1 with {self.options['connections']} keep-alive connections unless said otherwise, {log}, "
                f"{self.options['rounds']} rounds of {self.options['seconds']} s, median")

    def table(self):
        references = [name for name in REFERENCES if any(peer.name == name for peer in self.peers)]
        head = ["work", "proxy", "CPU µs/request", *[f"ratio to {PEERS[name].title}" for name in references],
                "requests/s", "p99 ms", "RSS MiB"]
        rows = [self.row(work, peer, references) for work in self.works for peer in self.peers if peer.takes(work)]
        return [line(head), line(["---", "---"] + ["---:"] * (len(head) - 2)), *map(line, rows)]

    def parking(self):
        """What it costs connections that are busy."""
        said = []
        for work in self.works:
            mine, unparked = self.of(work, "usher"), self.of(work, "usher-unparked")
            if mine and unparked:
                said.append(f"- usher beside usher that never parks, {work.title}: {ratios('usher', 'usher-unparked', mine, unparked)}")
        return [*said, ""] if said else []

    def reuse(self):
        """How many of the requests found a connection to the app that was open; the worst round of each peer that counts."""
        said = []
        for peer in self.peers:
            for work in self.works:
                shares = [share for figure in self.of(work, peer.name) if (share := reused_share(figure)) is not None]
                if shares:
                    said.append(reuse_line(peer.title, work.title, min(shares)))
        return [*said, ""] if said else []

    def crowd_sections(self):
        return [line for kind in ("plain", "tls") for line in self.crowd_section(kind)]

    def crowd_section(self, kind):
        crowds = [figure for figure in self.crowds if figure.kind == kind]
        if not crowds:
            return []
        references = [name for name in CROWD_REFERENCES if any(peer.name == name for peer in self.peers)]
        head = ["proxy", "KB per idle connection", "RSS MiB while idle", "CPU µs/request",
                *[f"ratio to {PEERS[name].title}" for name in references]]
        rows = [self.crowd_row(kind, peer, references) for peer in self.peers]
        return [
            f"## {crowds[0].connections:,} connections that do little{', under TLS' if kind == 'tls' else ''}", "",
            "Each has one request behind it and is idle: what it takes of the proxy's memory. Then each asks once a "
            "second: what a request costs.", "",
            line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows), "",
        ]

    def crowd_row(self, kind, peer, references):
        mine = self.crowds_of(kind, peer.name)
        return [
            peer.title, f"**{median(f.bytes_per_idle_connection for f in mine) / 1000:.2f}**",
            f"{median(f.rss_bytes_idle for f in mine) / 2**20:.1f}",
            cost(mine),
            *[ratios(peer.name, name, mine, self.crowds_of(kind, name)) for name in references],
        ]

    def crowds_of(self, kind, name):
        return sorted((f for f in self.crowds if (f.kind, f.peer) == (kind, name)), key=lambda f: f.round)

    def row(self, work, peer, references):
        mine = self.of(work, peer.name)
        return [
            work.title, peer.title, cost(mine),
            *[ratios(peer.name, name, mine, self.of(work, name)) for name in references],
            f"{median(f.requests_per_second for f in mine):,.0f}",
            "" if work.http2 else f"{median(f.p99_us for f in mine) / 1000:.1f}",
            f"{max(f.rss_bytes for f in mine) / 2**20:.1f}",
        ]

    def bars(self):
        return [(work.title, [(peer.title, [f.cpu_us_per_request for f in self.of(work, peer.name)])
                              for peer in self.peers if peer.takes(work)]) for work in self.works]

    def of(self, work, name):
        return sorted((f for f in self.figures if (f.work, f.peer) == (work.name, name)), key=lambda f: f.round)


def cost(figures):
    """The median of the rounds in which the peer kept up."""
    each = [f.cpu_us_per_request for f in figures if f.cpu_us_per_request is not None]
    return f"**{median(each):.1f}**" if each else "did not keep up"


def reused_share(figure):
    taken = (figure.connections_opened or 0) + (figure.connections_reused or 0)
    return figure.connections_reused / taken if taken else None


def reuse_line(peer, work, share):
    percent = int(share * 100_000) / 1000  # cut off: what is not all must not look like it
    verdict = "" if share >= REUSE_EXPECTED else f", which is under the {REUSE_EXPECTED:.1%} that steady load should have"
    return f"- {peer}, {work}: {percent:.3f} % of the connections to the app were kept ones{verdict}"


def ratios(name, reference, mine, theirs):
    if name == reference:
        return "1"
    pairs = [(a.cpu_us_per_request, b.cpu_us_per_request) for a, b in zip(mine, theirs, strict=True)]
    each = [a / b for a, b in pairs if a is not None and b is not None]
    return " ".join(f"{ratio:.2f}" for ratio in each) + f" → **{median(each):.2f}**" if each else "–"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def circumstances(peers):
    versions = {PEERS[name].title: PEERS[name].version() for name in peers}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["benches/edge/run", *sys.argv[1:]]),
        "commit": commit(),
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": "the proxy alone on one, load generator and app server on the other",
        **versions,
        "wrk": first_line(["wrk", "-v"]),
        "h2load": first_line(["h2load", "--version"]),
        "OpenSSL": first_line(["openssl", "version"]),
    }


def cpu_model():
    with open("/proc/cpuinfo") as info:
        models = [text.partition(":")[2].strip() for text in info if text.startswith("model name")]
    return models[0] if models else platform.machine()


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def commit():
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "not a git checkout"
