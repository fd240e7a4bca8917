"""Rushes, floods and an outage of the database beside live traffic, on a real PostgreSQL."""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benches/edge"))
sys.path.append(str(ROOT / "benches/chaos"))

from command import carry_out, install  # noqa: E402
from database import Database  # noqa: E402
from peers import App  # noqa: E402
from real_time import real_time  # noqa: E402
from report import commit, cpu_model, line, memory_gib  # noqa: E402
from router import Router  # noqa: E402
from works import WORKS  # noqa: E402


def main():
    options = read_options()
    os.chdir(ROOT)
    carry_out(lambda: measure(options))


def measure(options):
    prepare(options)
    part_cores()
    rows = run(options)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "live.md").write_text(markdown(rows))
    print("written:", options.output / "live.md")


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default=",".join(WORKS), help="what to measure (default: %(default)s)")
    parser.add_argument("--away", type=int, default=60, help="seconds that the database is away (%(default)s)")
    parser.add_argument("--usher", type=Path, help="a binary to run, instead of building one")
    parser.add_argument("--output", type=Path, default=ROOT / "benches/results", help="folder for the results")
    options = parser.parse_args()
    options.work = options.work.split(",")
    if unknown := {*options.work} - {*WORKS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.output = options.output.resolve()
    return options


def prepare(options):
    install({"initdb": "postgresql", "nginx": "nginx", "wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"})
    if not options.usher:
        subprocess.run(["cargo", "build", "--release", "--locked"], check=True)
    Router.binary = (options.usher or ROOT / "target/release/usher").resolve()


def part_cores():
    """The router gets the first core, and everything else the others, where there are any."""
    first, *others = sorted(os.sched_getaffinity(0))
    Router.core = first
    os.sched_setaffinity(0, others or [first])


def run(options):
    rows = []
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="usher-live-")))
        directory.chmod(0o755)  # the database server has a user of its own
        database = Database(directory, Router.binary)
        running.callback(database.stop)
        with real_time():
            app = App(directory, None)
        running.callback(app.stop)
        for name in options.work:
            with ExitStack() as routers:
                folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=directory))
                for row in WORKS[name](routers, folder, database, app, options):
                    print(*row, sep=" | ", flush=True)
                    rows.append(row)
    return rows


def markdown(rows):
    circumstances = {
        "command": " ".join(["benches/live/run", *sys.argv[1:]]),
        "commit": commit(),
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
        "client and app": precedence(),
        "usher": subprocess.run([Router.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    return "\n".join([
        "# The directory, live", "", line(["what", "figure", "asked"]), line(["---", "---", "---"]), *map(line, rows), "",
        *[f"- {name}: {value}" for name, value in circumstances.items()], "",
    ])


def precedence():
    with real_time() as is_allowed:
        return "before all others" if is_allowed else "in turn with all others, for want of CAP_SYS_NICE: no p99 is worth much"


if __name__ == "__main__":
    main()
