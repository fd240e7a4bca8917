"""What was counted, as a table and as raw figures."""

import json
import os
import platform
import shlex
import sys
from datetime import datetime, timezone

from proxies import PROXIES
from report import commit, cpu_model, line, memory_gib
from slow import SlowFigure


# How much slower the slowest answers may become by one server of three that is ten times slower.
UNEVEN_MAX = 1.5


class Report:
    def __init__(self, options):
        self.options = options
        self.figures = []
        self.circumstances = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "command": shlex.join(["benches/chaos/run", *sys.argv[1:]]),
            "commit": commit(),
            "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
            "kernel": f"{platform.system()} {platform.release()}",
            **{PROXIES[name].title: PROXIES[name].version() for name in options.only},
        }

    def add(self, figure):
        self.figures.append(figure)

    def write(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        raw = {"circumstances": self.circumstances, "figures": [figure.raw() for figure in self.figures]}
        (directory / "chaos.json").write_text(json.dumps(raw, indent=1) + "\n")
        (directory / "chaos.md").write_text(self.markdown())
        return directory / "chaos.md"

    def markdown(self):
        faults = [figure for figure in self.figures if not isinstance(figure, SlowFigure)]
        slow = [figure for figure in self.figures if isinstance(figure, SlowFigure)]
        return "\n".join([
            "# App servers that fail", "", *(self.faults(faults) if faults else []), *(slow_clients(slow) if slow else []),
            *[f"- {name}: {value}" for name, value in self.circumstances.items()],
            "- raw figures: [chaos.json](chaos.json)", "",
        ])

    def broken(self):
        """What usher promises and has not done: nothing fails that could be repeated, nothing is done twice or forgotten, and a slow
        server slows nobody else."""
        mine = {figure.scenario: figure for figure in self.figures
                if not isinstance(figure, SlowFigure) and figure.proxy == PROXIES["usher"].title}
        broken = [f"{figure.title}: {sum(figure.failed_gets.values())} GETs failed, {figure.applied_twice} POSTs were applied twice, "
                  f"{figure.lost} lost"
                  for figure in mine.values() if figure.failed_gets or figure.applied_twice or figure.lost]
        if {"even", "uneven"} <= mine.keys() and mine["uneven"].p99_ms > UNEVEN_MAX * mine["even"].p99_ms:
            broken.append(f"{mine['uneven'].title}: p99 {mine['uneven'].p99_ms} ms beside {mine['even'].p99_ms}")
        return broken

    def faults(self, figures):
        head = ["what happens", "proxy", "failed GETs", "failed POSTs", "POSTs applied twice", "p50 ms", "p99 ms", "longest ms"]
        return [
            f"Three servers of the app in `deploy/fastapi`, {self.options.rate} requests a second, "
            f"{self.options.posts:.0%} of them POSTs. A failed POST could not be repeated where an app server may have seen "
            "it; every GET could. All of them wait one second for a connection and three for the head of an answer "
            "(`attempt_timeout`, which is 30 s unless it is set: a server that freezes costs GETs as long as that).", "",
            line(head), line(["---", "---"] + ["---:"] * (len(head) - 2)), *map(row, figures), "",
        ]


def row(figure):
    lost = f", {figure.lost} lost" if figure.lost else ""
    return line([
        figure.title, figure.proxy, failed(figure.failed_gets, figure.gets), failed(figure.failed_posts, figure.posts),
        f"{figure.applied_twice}{lost}", str(figure.p50_ms), str(figure.p99_ms), str(figure.longest_ms),
    ])


def failed(failures, count):
    kinds = ", ".join(f"{times} × {kind}" for kind, times in sorted(failures.items()))
    return f"**{sum(failures.values())}** of {count}" + (f" ({kinds})" if kinds else "")


def slow_clients(figures):
    head = ["proxy", "clients", "failed", "app workers busy, s", "ratio", "s in all"]
    rows = [row for figure in figures for row in figure.rows()]
    return ["## Slow clients", "", figures[0].what(), "",
            line(head), line(["---", "---"] + ["---:"] * (len(head) - 2)), *map(line, rows), ""]
