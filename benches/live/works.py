"""What is measured. Each work yields rows of the table: what, the figure, what is asked."""

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from statistics import median

from certificate import Certificate
from peers import Failed
from real_time import real_time
from router import Router

KNOWN = "customdomain1.com"
COLD = "nobody.example"
COLD_REQUESTS = 10_000
FLOOD_PER_SECOND = 20_000
# The database has the same two cores here.
LOADS_PER_SECOND = 500
# What the router knows of names, and how it is told so.
KNOWLEDGE = {
    "all names known": "",
    f"names not known, loads_per_second = {LOADS_PER_SECOND}": f"names_max = 0\nloads_per_second = {LOADS_PER_SECOND}",
}
FLOOD_SECONDS = 10
FLOOD_CONNECTIONS = 96
# How far from what was asked a rate may be that is kept by a clock of milliseconds.
RATE_TOLERANCE = 0.01
ROUNDS = 5
STEADY_PER_SECOND = 200
# A client in Python opens few more.
HELLOS_PER_SECOND = 2_000
HELLO_SECONDS = 2
# `loads_max`: so many loads at once are no haste.
BURST = 256
COLD_PER_SECOND = 50
# Each is asked for once, and quiet and flooded in every round.
COLD_HOSTS = COLD_PER_SECOND * FLOOD_SECONDS * 2 * ROUNDS
NAMES = 1_000_000


def start(routers, *arguments, **keywords):
    router = Router(*arguments, **keywords)
    routers.callback(router.stop)
    return router


def cold(routers, directory, database, app, options):
    """A rush for one host that nobody has asked for yet, and that is in no table: the app would be the narrow place."""
    router = start(routers, directory, database, app, more="names_max = 0")
    before = router.metric("usher_directory_queries_total")
    command = ["h2load", "-n", COLD_REQUESTS, "-c", 100, "-m", 100, f"--connect-to=127.0.0.1:{router.port}", f"http://{COLD}/"]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    if f"{COLD_REQUESTS} 4xx" not in said:
        raise Failed(f"not every request was answered by a 404:\n{said}")
    queries = router.metric("usher_directory_queries_total") - before
    yield f"{COLD_REQUESTS} requests for one cold host at once", f"{queries:.0f} query", verdict("1 query", queries == 1)


def flood(routers, directory, database, app, options):
    """Invented hosts beside steady requests for a host that is held and for ones that are known and cold; once with all names
    known, once without. Several rounds, of which the median counts."""
    with cold_hosts(database):
        for what, more in KNOWLEDGE.items():
            router = start(routers, directory, database, app, more=more)
            if not more:
                router.wait(lambda: router.metric("usher_directory_names") >= COLD_HOSTS)
            hosts = iter(range(COLD_HOSTS))
            rounds = [flood_round(router, hosts, are_known=not more) for _ in range(ROUNDS)]
            whose, asked, most = ["a host that is held"], LOADS_PER_SECOND, LOADS_PER_SECOND + 10
            if not more:
                whose, asked, most = [*whose, "a host that is cold"], "those of the cold hosts", COLD_PER_SECOND * 2 + 10
            yield from told("invented hosts per second", what, rounds, FLOOD_PER_SECOND, whose, asked, most)


@contextmanager
def cold_hosts(database):
    database.execute("INSERT INTO store_domains (store_id, domain, is_active, is_verified) "
                     f"SELECT 1, 'cold' || i || '.example', true, true FROM generate_series(0, {COLD_HOSTS - 1}) i")
    try:
        yield
    finally:
        database.execute("DELETE FROM store_domains WHERE domain LIKE 'cold%.example'")


def flood_round(router, hosts, are_known):
    """p99 of the host that is held, quiet and flooded, the same of cold ones, and the rates of invented hosts and of queries.

    Where names are not known, cold hosts are strangers like the invented ones, and are not asked for.
    """
    quiet = together(router, hosts if are_known else None)
    before = router.queries()
    command = ["wrk", "-t1", f"-c{FLOOD_CONNECTIONS}", f"-d{FLOOD_SECONDS + 1}", "-s", Path(__file__).parent / "flood.lua",
               f"http://127.0.0.1:{router.port}/"]
    flooded, said = beside(command, lambda: together(router, hosts if are_known else None))
    rate = float(next(row.split(":")[1] for row in said.splitlines() if row.startswith("Requests/sec")))
    queries = (router.queries() - before) / (FLOOD_SECONDS + 1)
    return {"p99s": [[p99(times) for times in pair] for pair in zip(quiet, flooded)], "rate": rate, "queries": queries}


def beside(flood, measure):
    """What `measure` gives while the command floods, and what that says in the end."""
    # Strangers bring processors of their own: theirs is one that nobody else wants at the moment.
    command = ["chrt", "--idle", "0", *map(str, flood)]
    flooding = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    measured = measure()
    said, _ = flooding.communicate()
    return measured, said


def together(router, cold_hosts):
    """The times of requests for the host that is held and, where asked for, of those for cold ones beside it."""
    streams = [(repeat(KNOWN), STEADY_PER_SECOND)]
    if cold_hosts is not None:
        streams.append(((f"cold{number}.example" for number in cold_hosts), COLD_PER_SECOND))
    with ThreadPoolExecutor(len(streams)) as threads:
        running = [threads.submit(steady, router, names, rate, FLOOD_SECONDS) for names, rate in streams]
        return [stream.result() for stream in running]


def told(flood, what, rounds, per_second, whose, asked, most):
    """A row for each of those `whose` times were taken, one for the rate, and one for the queries, of which there may be `most`; each with
    what was asked and whether it was met."""
    rate, queries = (median(one[name] for one in rounds) for name in ("rate", "queries"))
    for position, who in enumerate(whose):
        ratio = median(one["p99s"][position][1] / one["p99s"][position][0] for one in rounds)
        quiet, flooded = (median(one["p99s"][position][side] for one in rounds) for side in (0, 1))
        yield (f"flood of {rate:.0f} {flood}, {what}: {who}",
               f"p99 {quiet:.2f} → {flooded:.2f} ms; ratio {ratio:.2f}, the median of {len(rounds)} rounds",
               verdict("below twice", ratio < 2))
    yield (f"rate of this flood, {what}", f"{rate:.0f} per second", verdict(per_second, rate >= per_second * (1 - RATE_TOLERANCE)))
    yield f"queries during this flood, {what}", f"{queries:.0f} per second", verdict(asked, queries <= most)


def verdict(asked, is_met):
    return f"{asked}: {'met' if is_met else 'MISSED'}"


def steady(router, hosts, per_second, seconds, tls=False):
    """Requests at even intervals, each of which has to be answered; their times."""
    client, times, began = router.client(tls), [], time.perf_counter()
    with real_time():
        for number, host in zip(range(per_second * seconds), hosts):
            time.sleep(max(0, began + number / per_second - time.perf_counter()))
            status, _, took = client.get(host)
            if status != 200:
                raise Failed(f"{host} was answered {status}")
            times.append(took)
    client.close()
    if len(times) < per_second * seconds:
        raise Failed("there were not enough hosts")
    return times


def hellos(routers, directory, database, app, options):
    """Handshakes for invented names beside steady requests for a known one, all under TLS, where the directory is asked whose a name is
    before a certificate is. Otherwise like `flood`."""
    certificate = Certificate(directory)
    for what, more in KNOWLEDGE.items():
        router = start(routers, directory, database, app, more=more, certificate=certificate)
        if not more:
            router.wait(lambda: router.metric("usher_directory_names") > 0)
        rounds = [hello_round(router) for _ in range(ROUNDS)]
        asked, most = "no query", 0
        if more:
            asked, most = f"{LOADS_PER_SECOND} and a burst", LOADS_PER_SECOND + BURST / HELLO_SECONDS
        yield from told("handshakes per second for invented names", what, rounds, HELLOS_PER_SECOND,
                        ["a known host under TLS"], asked, most)


def hello_round(router):
    """p99 of the known host, quiet and flooded, and the rates of handshakes and of queries."""
    def visits():
        return steady(router, repeat(KNOWN), STEADY_PER_SECOND, HELLO_SECONDS, tls=True)

    quiet, before = visits(), router.queries()
    command = [sys.executable, Path(__file__).parent / "hellos.py", router.tls_port, HELLOS_PER_SECOND, HELLO_SECONDS + 1]
    flooded, said = beside(command, visits)
    sent, refused, took = map(float, said.split())
    if not sent or sent != refused:
        raise Failed(f"{refused:.0f} of {sent:.0f} handshakes for invented names were refused")
    return {"p99s": [[p99(quiet), p99(flooded)]], "rate": sent / took, "queries": (router.queries() - before) / took}


def names(routers, directory, database, app, options):
    """A million names in the tables, read at start."""
    database.execute("INSERT INTO store_domains (store_id, domain, is_active, is_verified) "
                     f"SELECT 1, 'name' || i || '.example', true, true FROM generate_series(1, {NAMES}) i")
    try:
        began = time.perf_counter()
        router = start(routers, directory, database, app, more=f"names_max = {NAMES * 2}")
        router.wait(lambda: router.metric("usher_directory_names") >= NAMES, seconds=120)
        took, taken = time.perf_counter() - began, router.metric("usher_directory_names_memory_bytes")
        yield (f"{NAMES} names read at start", f"known {took:.1f} s after the start, of which 1 s is a pause", "printed")
        yield (f"memory of {NAMES} names", f"{taken / NAMES:.1f} bytes each", verdict("about 10 bytes", taken / NAMES < 11))
    finally:
        database.execute("DELETE FROM store_domains WHERE domain LIKE 'name%.example'")


def outage(routers, directory, database, app, options):
    """The server is killed under load, stays away, and comes back."""
    router = start(routers, directory, database, app)
    load = Load(router)
    database.server.send_signal(signal.SIGQUIT)
    database.server.wait(20)
    time.sleep(options.away)
    database.start()
    router.wait(lambda: router.metric("usher_directory_following") == 1, seconds=60)
    reconnected = time.perf_counter()
    database.execute(f"UPDATE store_domains SET store_id = 2 WHERE domain = '{KNOWN}'")
    client = router.client()
    while json.loads(client.get(KNOWN)[1])["store"] != "2":
        pass
    live = time.perf_counter() - reconnected
    answered, failed = load.end()
    database.execute(f"UPDATE store_domains SET store_id = 1 WHERE domain = '{KNOWN}'")
    yield (f"database killed under load, {options.away} s away, back",
           f"{failed} of {answered + failed} requests for a held tenant failed; first change live {live * 1000:.0f} ms after "
           "edits were followed again", verdict("none failed, live within 1 s", not failed and live < 1))


class Load:
    """Requests for a held tenant, one after the other, in a thread of its own."""

    def __init__(self, router):
        self.client, self.counts, self.done = router.client(), {True: 0, False: 0}, threading.Event()
        self.client.get(KNOWN)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.done.is_set():
            self.counts[self.client.get(KNOWN)[0] == 200] += 1
            time.sleep(0.005)

    def end(self):
        self.done.set()
        self.thread.join()
        return self.counts[True], self.counts[False]


def p99(times):
    """In milliseconds."""
    return sorted(times)[int(len(times) * 0.99)] * 1000 if times else float("inf")


WORKS = {"cold": cold, "flood": flood, "hellos": hellos, "outage": outage, "names": names}
