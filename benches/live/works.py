"""What is measured. Each work yields rows of the table: what, the figure, what is asked."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from certificate import Certificate
from peers import Failed
from router import Router

KNOWN = "customdomain1.com"
COLD = "nobody.example"
COLD_REQUESTS = 10_000
FLOOD_PER_SECOND = 20_000
# The database has the same two cores here.
LOADS_PER_SECOND = 500
FLOOD_SECONDS = 10
STEADY_PER_SECOND = 200
# A client in Python opens some thousands a second; the router has to leave it a part of the two cores.
HELLOS_PER_SECOND = 3_000


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
    yield f"{COLD_REQUESTS} requests for one cold host at once", f"{queries:.0f} query", "1 query"


def flood(routers, directory, database, app, options):
    """Invented hosts beside steady requests for known ones; once with all names known, once without."""
    for what, more in (("all names known", ""),
                       (f"names not known, loads_per_second = {LOADS_PER_SECOND}",
                        f"names_max = 0\nloads_per_second = {LOADS_PER_SECOND}")):
        router = start(routers, directory, database, app, more=more)
        if not more:
            router.wait(lambda: router.metric("usher_directory_names") > 0)
        quiet = steady(router, FLOOD_SECONDS)
        before = router.metric("usher_directory_queries_total")
        flooding = subprocess.Popen(
            ["wrk", "-t1", "-c40", f"-d{FLOOD_SECONDS + 1}", "-s", Path(__file__).parent / "flood.lua",
             f"http://127.0.0.1:{router.port}/"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        flooded = steady(router, FLOOD_SECONDS)
        said, _ = flooding.communicate()
        rate = float(next(row.split(":")[1] for row in said.splitlines() if row.startswith("Requests/sec")))
        queries = (router.metric("usher_directory_queries_total") - before) / (FLOOD_SECONDS + 1)
        p99s = [quantile(sorted(times), 0.99) * 1000 for times in (quiet, flooded)]
        yield (f"flood of {rate:.0f} invented hosts per second, {what}",
               f"p99 of known hosts {p99s[0]:.2f} → {p99s[1]:.2f} ms ({p99s[1] / p99s[0]:.2f}), {queries:.0f} queries per second",
               "below twice")


def steady(router, seconds, tls=False):
    """Requests at even intervals, each of which has to be answered; their times."""
    client, times, began = router.client(tls), [], time.perf_counter()
    for number in range(STEADY_PER_SECOND * seconds):
        time.sleep(max(0, began + number / STEADY_PER_SECOND - time.perf_counter()))
        status, _, took = client.get(KNOWN)
        if status != 200:
            raise Failed(f"a known host was answered {status}")
        times.append(took)
    client.close()
    return times


def hellos(routers, directory, database, app, options):
    """Handshakes for invented names beside steady requests for a known one, all under TLS."""
    router = start(routers, directory, database, app, certificate=Certificate(directory))
    router.wait(lambda: router.metric("usher_directory_names") > 0)
    quiet = steady(router, FLOOD_SECONDS, tls=True)
    before = router.metric("usher_directory_queries_total")
    command = [sys.executable, Path(__file__).parent / "hellos.py", router.tls_port, HELLOS_PER_SECOND, FLOOD_SECONDS + 1]
    flooding = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    flooded = steady(router, FLOOD_SECONDS, tls=True)
    said, _ = flooding.communicate()
    sent, refused, took = map(float, said.split())
    if not sent or sent != refused:
        raise Failed(f"{refused:.0f} of {sent:.0f} handshakes for invented names were refused")
    queries = router.metric("usher_directory_queries_total") - before
    p99s = [quantile(sorted(times), 0.99) * 1000 for times in (quiet, flooded)]
    yield (f"flood of {sent / took:.0f} handshakes per second for invented names, all names known",
           f"p99 of a known host under TLS {p99s[0]:.2f} → {p99s[1]:.2f} ms ({p99s[1] / p99s[0]:.2f}), {queries:.0f} queries",
           "below twice, no query")


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
           "edits were followed again", "none failed, live within 1 s")


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


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


WORKS = {"cold": cold, "flood": flood, "hellos": hellos, "outage": outage}
