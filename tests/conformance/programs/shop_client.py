"""Customers of the app in deploy/fastapi, through usher: every answer is searched for what belongs to the other store.

Arguments: usher's port, the app's own port.
"""

import base64
import json
import re
import socket
import sys
import threading

from score import Score

USHER, APP = map(int, sys.argv[1:3])
PASSWORD = "only-for-this-test"
HOSTS = {"customdomain1.com": 1, "shop.alpha.com": 1, "store1.platform.com": 1, "customdomain2.com": 2,
         "store2.platform.com": 2}
# What an answer of a store must not hold. Products that this script adds begin with `only-` and the number of their store.
FOREIGN = {1: re.compile(rb"Shop Beta|Product C|only-2-"), 2: re.compile(rb"Shop Alpha|Product [AB]|only-1-")}
PRODUCTS = {1: [(1, "Product A"), (2, "Product B")], 2: [(3, "Product C")]}
score = Score()
mixed_up = []


class Connection:
    """One connection, kept as long as it lasts."""

    def __init__(self, port=USHER, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, *requests):
        self.socket.sendall(b"".join(requests))
        return self

    def answer(self):
        status = int(self.file.readline().split()[1])
        fields = {}
        while (line := self.file.readline().rstrip(b"\r\n")):
            name, _, value = line.partition(b":")
            fields[name.decode().lower()] = value.strip().decode()
        return status, fields, self.file.read(int(fields.get("content-length", 0)))


def request(target="/", host="customdomain1.com", *more, method="GET", body=b""):
    length = [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *more, *length, "", ""]).encode() + body


def ask(*arguments, port=USHER, source="127.0.0.1", **options):
    with Connection(port, source) as connection:
        return connection.send(request(*arguments, **options)).answer()


def own(store, answer):
    """The status, once it is sure that nothing of another store came with it."""
    status, fields, body = answer
    if FOREIGN[store].search(body) or any(FOREIGN[store].search(value.encode()) for value in fields.values()):
        mixed_up.append((store, body))
    return status


def listed(answer):
    return [(product["id"], product["name"]) for product in json.loads(answer[2])]


for host, store in HOSTS.items():
    answer = ask("/", host)
    score.add(f"the shop of {host}", own(store, answer), {200})
    score.add(f"the products of {host}", listed(ask("/api/products", host)), [PRODUCTS[store]])
    score.add(f"the links of {host}", re.findall(rb'href="(.*?)"', answer[2]),
              [[f"http://{host}/products/{number}".encode() for number, _ in PRODUCTS[store]]])

for mine, theirs, host in [(1, 3, "customdomain1.com"), (2, 1, "customdomain2.com")]:
    for target in [f"/products/{theirs}", f"/api/products/{theirs}"]:
        score.add(f"{target} at {host}", own(mine, ask(target, host)), {404})
    order = json.dumps({"product_id": theirs, "reference": "x"}).encode()
    score.add(f"an order of {theirs} at {host}", own(mine, ask("/api/orders", host, method="POST", body=order)), {404})

order = json.dumps({"product_id": 1, "reference": "x"}).encode()
score.add("an order", ask("/api/orders", method="POST", body=order)[0], {201})

score.add("the homepage", b"Open your shop" in ask("/", "platform.com")[2], {True})
score.add("the homepage sells nothing", ask("/products/1", "platform.com")[0], {404})
score.add("a host that nobody owns", ask("/", "nobody.example")[0], {404})

login = "Authorization: Basic " + base64.b64encode(f"x:{PASSWORD}".encode()).decode()
for target, host in [("/", "admin.platform.com"), ("/admin", "admin.platform.com"), ("/admin", "customdomain1.com")]:
    status, _, body = ask(target, host, login)
    score.add(f"the administration at {host}{target}", (status, b"Shop Alpha" in body, b"Product A" in body),
              {(200, True, False)})
    score.add(f"not for strangers at {host}{target}", ask(target, host)[0], {401})
score.add("the administration has no products", ask("/api/products", "admin.platform.com", login)[0], {404})

# Path mode: what the app links to leads back to the same store.
LOCAL = f"localhost:{USHER}"
for label, store in [("store1", 1), ("store2", 2)]:
    base = f"http://{LOCAL}/store/{label}"
    answer = ask(f"/store/{label}/", LOCAL)
    links = [link.decode() for link in re.findall(rb'href="(.*?)"', answer[2])]
    score.add(f"the shop below /store/{label}", own(store, answer), {200})
    score.add("its links", links, [[f"{base}/products/{number}" for number, _ in PRODUCTS[store]]])
    followed = ask(links[0].removeprefix(f"http://{LOCAL}"), LOCAL)
    score.add("a link followed", own(store, followed), {200})
    score.add("and back", f'href="{base}/"'.encode() in followed[2], {True})
    score.add("its /docs", f"/store/{label}/openapi.json".encode() in ask(f"/store/{label}/docs", LOCAL)[2], {True})
    described = json.loads(ask(f"/store/{label}/openapi.json", LOCAL)[2])
    score.add("the servers in its description", described["servers"], [[{"url": "."}]])
    body = json.dumps({"name": f"only-{store}-path", "price": "1.00"}).encode()
    added = ask(f"/store/{label}/api/products", LOCAL, method="POST", body=body)
    score.add("where a new product is", added[1].get("location", "").startswith(f"{base}/api/products/"), {True})
    score.add("the new product", own(store, ask(added[1]["location"].removeprefix(f"http://{LOCAL}"), LOCAL)), {200})
    twice = ask(f"/store/{label}/store/{label}/", LOCAL)
    score.add("the prefix counts once", own(store, twice), {404})
score.add("the prefix of a store on another's domain", own(1, ask("/store/store2/")), {404})

# Whatever a customer says about stores, the app hears only usher.
FORGERIES = [
    ["X-Store-Id: 2"], ["x-store-id: 2"], ["X-STORE-ID: 2"], ["X_Store_Id: 2"], ["X-Store_Id: 2"], ["X_STORE_ID: 2"],
    ["X-Store-Id: 2", "X-Store-Id: 2"], ["X-Store-Id: 1, 2"], ["X-Store-Id : 2"], [" X-Store-Id: 2"], ["X-Store-Id:\t2"],
    ["X-Store-Id: 2", "Connection: X-Store-Id"], ["X-Store-Match: admin"], ["X-Store-Match: homepage"],
    ["X-Forwarded-Host: customdomain2.com"], ["Forwarded: host=customdomain2.com"], ["X-Forwarded-Prefix: /store/store2"],
    ["X-Original-URL: /store/store2/"], ["X-Rewrite-URL: /store/store2/"], ["Host: customdomain2.com"],
]
for forgery in FORGERIES:
    answer = ask("/api/products", "customdomain1.com", *forgery)
    outcome = own(1, answer)
    if outcome == 200:
        outcome = [name for _, name in listed(answer)][:2]
    score.add(f"forged: {forgery}", outcome, [["Product A", "Product B"], 400])
smuggled = (b"POST /api/orders HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nTrailer: X-Store-Id\r\n\r\n%x\r\n%s\r\n0\r\nX-Store-Id: 2\r\n\r\n")
body = json.dumps({"product_id": 3, "reference": "x"}).encode()
with Connection() as connection:
    score.add("forged in a trailer", own(1, connection.send(smuggled % (len(body), body)).answer()), {404})
score.add("only the page asked for is forged", ask("/", "platform.com", "X-Store-Id: 1", "X-Store-Match: custom_domain")[2]
          .find(b"Open your shop") > 0, {True})

# Past usher. The app is told that usher's network is 127.0.0.1 alone.
for forgery in [[], ["X-Store-Id: 1"], ["X-Store-Id: 1", "X-Store-Match: custom_domain"], ["X-Forwarded-For: 127.0.0.1"]]:
    status, _, body = ask("/api/products", "customdomain1.com", *forgery, port=APP, source="127.0.0.9")
    score.add(f"from a stranger's address: {forgery}", (status, body), {(421, b"ask the router\n")})
score.add("without usher's word, Host is not enough", own(2, ask("/api/products", port=APP)), {421})
score.add("two words", ask("/api/products", "x", "X-Store-Id: 1", "X-Store-Id: 2", port=APP)[0], {421})
score.add("no number", ask("/api/products", "x", "X-Store-Id: 1 OR 1=1", port=APP)[0], {421})
score.add("a store that is gone", ask("/api/products", "x", "X-Store-Id: 99", port=APP)[0], {404})


def customer(number, statuses):
    """Both stores on one connection, one after the other and in one packet, each adding products of its own."""
    with Connection() as connection:
        for turn in range(15):
            order = [("customdomain1.com", 1), ("customdomain2.com", 2)][:: 1 if (turn + number) % 2 else -1]
            for host, store in order:
                body = json.dumps({"name": f"only-{store}-{number}-{turn}", "price": "1.00"}).encode()
                forged = f"X-Store-Id: {3 - store}"
                connection.send(request("/api/products", host, forged, method="POST", body=body))
                statuses.append(own(store, connection.answer()))
            connection.send(*(request("/api/products", host) for host, _ in order))
            for _, store in order:
                answer = connection.answer()
                statuses.append(own(store, answer))
                if f"only-{store}-{number}-{turn}".encode() not in answer[2]:
                    mixed_up.append((store, "its own new product is missing"))


statuses = []
crowd = [threading.Thread(target=customer, args=(number, statuses)) for number in range(12)]
for member in crowd:
    member.start()
for member in crowd:
    member.join()
score.add("12 customers of both stores at once", (len(statuses), set(statuses)), [(12 * 15 * 4, {200, 201})])
score.add("answers with something of the other store", mixed_up[:3], [[]])
score.finish()
