"""What happens to the app servers while the load goes on. The fault begins after `BEFORE_SECONDS`; what is over by then is
only the start."""

import asyncio
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from apps import Scripted, Uvicorn
from load import Load
from peers import Failed

BEFORE_SECONDS = 3
FAULT_SECONDS = 8
FREEZE_SECONDS = 10
AFTER_SECONDS = 4
DELAY_MS = 20  # what an undisturbed scripted app server takes


@dataclass
class Figure:
    """One scenario behind one proxy."""

    scenario: str
    title: str
    proxy: str
    gets: int
    posts: int
    failed_gets: dict
    failed_posts: dict
    applied_twice: int
    lost: int
    failed_but_applied: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    failures: list

    def line(self):
        return (f"{self.title}, {self.proxy}: {sum(self.failed_gets.values())} of {self.gets} GETs failed {self.failed_gets}, "
                f"{sum(self.failed_posts.values())} of {self.posts} POSTs {self.failed_posts}, {self.applied_twice} twice, "
                f"p50 {self.p50_ms} ms, p99 {self.p99_ms} ms")

    def raw(self):
        return asdict(self)


async def nothing(_):
    await asyncio.sleep(FAULT_SECONDS)


async def rolling_restart(apps):
    for app in apps:
        await app.stop()
        await app.start()
        await asyncio.sleep(1)


async def kill(apps):
    apps[0].kill()
    await asyncio.sleep(FAULT_SECONDS)
    await apps[0].start()


async def freeze(apps):
    apps[0].send(signal.SIGSTOP)
    await asyncio.sleep(FREEZE_SECONDS)
    apps[0].send(signal.SIGCONT)


def misbehave(how):
    async def scenario(apps):
        await apps[0].behave(how)
        await asyncio.sleep(FAULT_SECONDS)
        await apps[0].behave("well")

    return scenario


@dataclass(frozen=True)
class Scenario:
    """What happens, and to whom: how many of the three app servers are scripted, and how slow each of these is."""

    title: str
    happens: object
    scripted_ms: tuple = ()


SCENARIOS = {
    "nothing": Scenario("nothing happens", nothing),
    "restart": Scenario("rolling restart, SIGTERM", rolling_restart),
    "kill": Scenario("one killed, SIGKILL", kill),
    "freeze": Scenario(f"one frozen {FREEZE_SECONDS} s, SIGSTOP", freeze),
    "500": Scenario("one answers 500", misbehave("fail"), (0,)),
    "slow": Scenario("one slower by 2 s", misbehave("dawdle"), (0,)),
    "reset": Scenario("one resets connections", misbehave("reset"), (0,)),
    "silent": Scenario("one accepts and never answers", misbehave("say_nothing"), (0,)),
    "even": Scenario(f"three that take {DELAY_MS} ms", nothing, (DELAY_MS,) * 3),
    "uneven": Scenario("one of these 10 times slower", nothing, (DELAY_MS * 10, DELAY_MS, DELAY_MS)),
}


class Stage:
    """Three app servers, a proxy in front of them, and the load."""

    def __init__(self, name, proxy, directory, database, options):
        self.name = name
        self.scenario = SCENARIOS[name]
        self.proxy = proxy
        self.directory = directory
        self.database = database
        self.options = options

    async def play(self):
        self.database.forget_orders()
        with ExitStack() as running:
            apps = [self.app(number) for number in range(3)]
            for app in apps:
                running.callback(app.close)
            await asyncio.gather(*(app.start() for app in apps))
            proxy = self.proxy(self.directory, [app.port for app in apps], self.database)
            running.callback(proxy.stop)
            await asyncio.to_thread(proxy.check)
            outcomes = await self.load(proxy, apps)
            return self.figure(outcomes, await self.orders(apps))

    def app(self, number):
        if number < len(self.scenario.scripted_ms):
            return Scripted(self.directory, self.scenario.scripted_ms[number])
        return Uvicorn(self.directory, self.database.url)

    async def load(self, proxy, apps):
        load, over = Load(proxy.port, self.options.rate, self.options.posts), asyncio.Event()
        running = asyncio.create_task(load.run(over))
        try:
            await asyncio.sleep(BEFORE_SECONDS)
            await self.scenario.happens(apps)
            await asyncio.sleep(AFTER_SECONDS)
        finally:
            over.set()
        await running
        return load.outcomes

    async def orders(self, apps):
        """How often each order was placed, at whichever app server."""
        placed = Counter(self.database.orders())
        for app in apps:
            if isinstance(app, Scripted):
                placed.update(await app.orders())
        return placed

    def figure(self, outcomes, orders):
        refuse_strangers(outcomes, orders)
        posts = [outcome for outcome in outcomes if outcome.method == "POST"]
        took = sorted(outcome.took * 1000 for outcome in outcomes)
        return Figure(
            self.name, self.scenario.title, self.proxy.title, len(outcomes) - len(posts), len(posts),
            failures(outcomes, "GET"), failures(outcomes, "POST"),
            applied_twice=sum(1 for times in orders.values() if times > 1),
            lost=sum(1 for post in posts if not post.failure and not orders[post.reference]),
            failed_but_applied=sum(1 for post in posts if post.failure and orders[post.reference]),
            p50_ms=percentile(took, 0.5), p99_ms=percentile(took, 0.99), longest_ms=round(took[-1], 1),
            failures=[(o.method, round(o.at, 3), round(o.took, 3), o.failure) for o in outcomes if o.failure],
        )


def failures(outcomes, method):
    return dict(Counter(o.failure for o in outcomes if o.method == method and o.failure))


def refuse_strangers(outcomes, orders):
    if strange := set(orders) - {outcome.reference for outcome in outcomes}:
        raise Failed(f"orders that nobody placed: {sorted(strange)[:3]}")


def percentile(ordered, share):
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
