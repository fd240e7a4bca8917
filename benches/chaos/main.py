"""Runs app servers that fail behind usher, nginx and HAProxy, under constant load that counts every answer."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benches/edge"))

from command import carry_out, install  # noqa: E402
from database import Database  # noqa: E402
from proxies import PROXIES  # noqa: E402
from scenarios import SCENARIOS, Stage  # noqa: E402
from slow import SLOW, play_slow_clients  # noqa: E402
from table import Report  # noqa: E402


def main():
    options = read_options()
    os.chdir(ROOT)
    carry_out(lambda: measure(options))


def measure(options):
    prepare(options)
    report = run(options)
    print("written:", report.write(options.output))
    if broken := report.broken():
        sys.exit("usher does not do what it promises: " + "; ".join(broken))


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*SCENARIOS, SLOW]
    parser.add_argument("--only", default=",".join(PROXIES), help="proxies to run (default: %(default)s)")
    parser.add_argument("--scenarios", default=",".join(names), help="what happens (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=150, help="requests per second (%(default)s)")
    parser.add_argument("--posts", type=float, default=0.25, help="share of POSTs among them (%(default)s)")
    parser.add_argument("--clients", type=int, default=200, help="slow clients (%(default)s)")
    parser.add_argument("--usher", type=Path, help="a binary to run, instead of building one")
    parser.add_argument("--output", type=Path, default=ROOT / "benches/results", help="folder for the results")
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.scenarios = options.scenarios.split(",")
    if unknown := {*options.only} - {*PROXIES} | {*options.scenarios} - {*names}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.output = options.output.resolve()
    return options


def prepare(options):
    install({"initdb": "postgresql", **{name: name for name in options.only if name != "usher"}})
    if not options.usher:
        subprocess.run(["cargo", "build", "--release", "--locked"], check=True)
    PROXIES["usher"].binary = (options.usher or ROOT / "target/release/usher").resolve()


def run(options):
    report = Report(options)
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="usher-chaos-")))
        directory.chmod(0o755)  # the database server has a user of its own
        database = Database(directory, PROXIES["usher"].binary)
        running.callback(database.stop)
        for name in options.scenarios:
            for proxy in options.only:
                take(report, name, proxy, directory, database, options)
    return report


def take(report, name, proxy, directory, database, options):
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-{proxy}-", dir=directory))
    if name == SLOW:
        figure = asyncio.run(play_slow_clients(PROXIES[proxy], folder, database, options.clients))
    else:
        figure = asyncio.run(Stage(name, PROXIES[proxy], folder, database, options).play())
    print(figure.line(), flush=True)
    report.add(figure)


if __name__ == "__main__":
    main()
