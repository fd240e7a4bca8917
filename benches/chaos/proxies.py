"""The proxies, each set up as its manual advises for app servers that may fail.

All of them give a connection one second and the head of an answer three, try another app server where a request can be
repeated, and never repeat a POST that an app server may have seen.
"""

import http.client
import json

from peers import Failed, Peer, Process, free_port, nginx_config

STORES = {"customdomain1.com": 1, "customdomain2.com": 2}


class Proxy(Peer):
    """One of them in front of the app servers, on any core: here nobody counts its time."""

    def __init__(self, directory, app_ports, database, answer_seconds=3):
        self.answer_seconds = answer_seconds
        self.port = free_port()
        self.app_ports = app_ports
        self.directory = directory / self.name
        self.directory.mkdir()
        self.database = database
        self.process = Process(self.name, self.command(), None, self.directory)
        self.process.wait_for(self.port)

    def check(self):
        """Each host leads to its own store, whatever the client says, on every app server."""
        for host in [*STORES, *STORES, *STORES]:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            client.request("GET", "/api/products", headers={"Host": host, "X-Store-Id": "2"})
            answer = client.getresponse()
            body = answer.read()
            names = [product["name"] for product in json.loads(body)] if answer.status == 200 else []
            if names != {1: ["Product A", "Product B"], 2: ["Product C"]}[STORES[host]]:
                raise Failed(f"{self.name} answers {answer.status} for {host}: {body[:200]!r}")
            client.close()


class Usher(Proxy):
    name = "usher"
    title = "usher"
    version_flag = "--version"

    def command(self):
        servers = ", ".join(f'"http://127.0.0.1:{port}"' for port in self.app_ports)
        config = self.directory / "usher.toml"
        config.write_text(f"""
[listen]
http = ["127.0.0.1:{self.port}"]

[admin]
listen = "127.0.0.1:0"

[routing]
platform_domains = ["platform.com"]

[directory]
url = "{self.database.url}"

[upstreams.default]
servers = [{servers}]
connect_timeout = "1s"
attempt_timeout = "{self.answer_seconds}s"
head_timeout = "{3 * self.answer_seconds}s"

[log]
access = "{self.directory}/access.log"
""")
        return [self.binary, "serve", "--config", config]


class Nginx(Proxy):
    """`max_fails` and `fail_timeout` at their defaults, since the free edition knows no other way to notice a failure. The
    shared zone makes what one worker has seen known to all. Answers are buffered, as usual."""

    name = "nginx"
    title = "nginx"
    binary = "nginx"

    def command(self):
        servers = " ".join(f"server 127.0.0.1:{port};" for port in self.app_ports)
        stores = " ".join(f"{host} {store};" for host, store in STORES.items())
        config = nginx_config(self.directory, f"""
  access_log {self.directory}/access.log;
  map $host $store {{ default ""; {stores} }}
  upstream app {{ zone app 256k; least_conn; {servers} keepalive 64; keepalive_timeout 4s; }}
  server {{
    listen 127.0.0.1:{self.port} default_server backlog=4096;
    if ($store = "") {{ return 404; }}
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_connect_timeout 1s;
      proxy_read_timeout {self.answer_seconds}s;
      proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Store-Id $store;
      proxy_set_header X-Store-Match custom_domain;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
    }}
  }}""")
        return [self.binary, "-p", self.directory, "-c", config]


class Haproxy(Proxy):
    """With active checks each second, errors of traffic counted too, and retries of everything that its manual calls safe.
    Repeating on this level is switched off for POST, as the manual demands; a failed connection is repeated always. It buffers
    request bodies where it is told to, which a retry needs."""

    name = "haproxy"
    title = "HAProxy"
    binary = "haproxy"

    def command(self):
        (self.directory / "stores.map").write_text("".join(f"{host} {store}\n" for host, store in STORES.items()))
        servers = "\n".join(f"  server app{n} 127.0.0.1:{port}" for n, port in enumerate(self.app_ports))
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""
global
  maxconn 16000
  no strict-limits
  log stdout format raw local0

defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 60s
  timeout server {self.answer_seconds}s
  timeout http-request 60s

frontend edge
  bind 127.0.0.1:{self.port} backlog 4096
  http-request set-var(txn.store) req.hdr(host),field(1,:),lower,map({self.directory}/stores.map)
  http-request return status 404 unless {{ var(txn.store) -m found }}
  http-request set-header X-Store-Id %[var(txn.store)]
  http-request set-header X-Store-Match custom_domain
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  default_backend app

backend app
  balance leastconn
  option http-buffer-request
  option redispatch 1
  option httpchk GET /health
  retries 3
  retry-on conn-failure empty-response junk-response response-timeout 0rtt-rejected 500 502 503 504
  http-request disable-l7-retry unless METH_GET
  default-server check inter 1s fall 2 rise 2 observe layer7 error-limit 10 on-error mark-down
{servers}
""")
        return [self.binary, "-db", "-f", config]


PROXIES = {proxy.name: proxy for proxy in (Usher, Nginx, Haproxy)}
