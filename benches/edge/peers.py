"""The proxies side by side, and the app server behind them.

Every peer does the same work: it looks the host up, replaces the client's X-Store-Id by its own, sets X-Forwarded-For,
X-Forwarded-Proto and X-Request-Id, keeps connections on both sides alive, and writes an access log with the same facts.
`Peer.check` proves it through an echo of the app before anything is measured.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

from certificate import HOST, Certificate

STORE_ID = "1"
FORGED = "4711"
SMALL_BODY = "<!doctype html><title>Shop Alpha</title>".ljust(149, ".") + "\n"
START_DEADLINE_SECONDS = 10
STOP_DEADLINE_SECONDS = 10


class Failed(Exception):
    """The run cannot give an honest figure."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child, on one core if one is named, ended by its own id."""

    def __init__(self, name, command, core, directory):
        self.name = name
        self.output = open(directory / f"{name}.output", "ab")  # append: the harness truncates logs between rounds
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        self.child = subprocess.Popen(
            [*pinned, *map(str, command)], cwd=directory, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )

    @property
    def pid(self):
        return self.child.pid  # taskset replaces itself by the command

    def wait_for(self, port):
        """Returns as soon as the port answers; ends the child where it does not."""
        try:
            self.poll(port)
        except BaseException:
            self.stop()
            raise

    def poll(self, port):
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failed(f"{self.name} ended with code {self.child.returncode}:\n{self.said()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise Failed(f"{self.name} did not listen within {START_DEADLINE_SECONDS} s:\n{self.said()}")

    def said(self):
        return Path(self.output.name).read_text(errors="replace")[-2000:]

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.output.close()


class App:
    """nginx with fixed answers, on the core of the load generator."""

    def __init__(self, directory, core):
        self.port = free_port()
        self.directory = directory / "app"
        (self.directory / "pages").mkdir(parents=True)
        (self.directory / "pages" / "64k").write_bytes(b"x" * 65536)
        config = nginx_config(self.directory, f"""
  access_log off;
  open_file_cache max=10;
  server {{
    listen 127.0.0.1:{self.port};
    root {self.directory}/pages;
    location = / {{ default_type text/html; return 200 '{SMALL_BODY}'; }}
    location = /echo {{
      default_type application/json;
      return 200 '{{"host":"$http_host","store":"$http_x_store_id","for":"$http_x_forwarded_for",\
"proto":"$http_x_forwarded_proto","id":"$http_x_request_id","connection":"$http_connection"}}';
    }}
  }}""")
        self.process = Process("app", ["nginx", "-p", self.directory, "-c", config], core, self.directory)
        self.process.wait_for(self.port)

    def stop(self):
        self.process.stop()


class Peer:
    """One proxy in front of the app. Subclasses name it and say how it is started."""

    name = ""
    title = ""
    binary = ""
    version_flag = "-v"
    works = None  # the names of those that it is measured at, beside crowds; None: all
    needs_http2_port = True  # HTTP/2 with prior knowledge has to be declared; whoever recognises it needs no other port

    def __init__(self, directory, core, app_port, logging):
        self.port = free_port()
        self.http2_port = free_port() if self.needs_http2_port else self.port
        self.tls_port = free_port()
        self.admin_port = free_port()
        self.app_port = app_port
        self.directory = directory / self.name
        self.directory.mkdir()
        self.certificate = Certificate(self.directory)
        self.log = self.directory / "access.log" if logging else None
        if self.log:
            self.log.touch()
        self.process = Process(self.name, self.command(), core, self.directory)
        self.process.wait_for(self.port)

    def command(self):
        """Writes what the peer needs and returns its command line."""
        raise NotImplementedError

    @classmethod
    def takes(cls, work):
        return cls.works is None or work.name in cls.works

    @classmethod
    def version(cls):
        return first_line([cls.binary, cls.version_flag])

    def connections(self):
        """Connections to the app so far, opened and taken again, of a peer that counts them."""
        return None

    def stop(self):
        self.process.stop()

    def check(self):
        """Refuses a peer that does less than the others."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        forged = {"Host": HOST, "X-Store-Id": FORGED, "X-Forwarded-Proto": "gopher"}
        client.request("GET", "/echo", headers=forged)
        answer = client.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failed(f"{self.name} answered {answer.status} to the first request: {body[:300]!r}")
        seen = json.loads(body)
        expected = {"host": HOST, "store": STORE_ID, "for": "127.0.0.1", "proto": "http", "connection": ""}
        wrong = {key: seen[key] for key, value in expected.items() if seen[key] != value}
        if wrong or len(seen["id"]) < 16:
            raise Failed(f"{self.name} does not do the same work; the app saw {seen}, expected {expected}")
        client.request("GET", "/", headers={"Host": "unknown.example"})
        if client.getresponse().status != 404:
            raise Failed(f"{self.name} does not refuse an unknown host")


class Usher(Peer):
    name = "usher"
    title = "usher"
    version_flag = "--version"
    needs_http2_port = False
    binary = Path("target/optimised/usher").resolve()
    park_after = "500ms"

    def command(self):
        log = f'access = "{self.log}"' if self.log else 'access = "off"'
        config = self.directory / "usher.toml"
        database = self.directory / "usher.db"
        config.write_text(f"""
[listen]
http = ["127.0.0.1:{self.port}"]
https = ["127.0.0.1:{self.tls_port}"]
workers = 1
connections_per_client_max = 100000
requests_per_client_max = 100000
connection_requests_max = 1000000000
park_after = "{self.park_after}"

[tls]
certificates = [{{ certificate = "{self.certificate.chain}", key = "{self.certificate.key}", default = true }}]
redirect = false

[admin]
listen = "127.0.0.1:{self.admin_port}"

[routing]
platform_domains = ["platform.com"]

[directory]
url = "sqlite://{database}"

[upstreams.default]
servers = ["http://127.0.0.1:{self.app_port}"]
idle_max = 1024  # as nginx's keepalive

[log]
{log}
""")
        subprocess.run([self.binary, "migrate", "--config", config], check=True, stdout=subprocess.DEVNULL)
        self.add_rows(database)
        return [self.binary, "serve", "--config", config]

    def connections(self):
        client = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
        client.close()
        series = re.findall(r'^usher_upstream_connections_total\{.*reused="(true|false)".*\} (\d+)$', text, re.MULTILINE)
        return tuple(sum(int(count) for reused, count in series if reused == kind) for kind in ("false", "true"))

    @staticmethod
    def add_rows(database):
        with sqlite3.connect(database) as rows:
            rows.execute("INSERT INTO stores (id, subdomain, name, is_active) VALUES (1, 'store1', 'Shop Alpha', TRUE)")
            rows.execute(
                "INSERT INTO store_domains (store_id, domain, is_primary, is_active, is_verified, verification_token)"
                " VALUES (1, ?, TRUE, TRUE, TRUE, 'bench')",
                [HOST],
            )
        rows.close()


class UsherUnparked(Usher):
    """What parking saves and costs: the same with all that it keeps for a connection."""

    name = "usher-unparked"
    title = "usher, never parking"
    works = {"small"}
    park_after = "1d"


class Nginx(Peer):
    """With buffers that hold 64 KiB: its stock ones cost it twice the time for such a body. And with room for as many idle
    connections to the app as there are requests at once, or HTTP/2 would cost it a handshake for nearly every one."""

    name = "nginx"
    title = "nginx"
    binary = "nginx"

    def command(self):
        log = f"access_log {self.log} usher buffer=64k flush=1s;" if self.log else "access_log off;"
        config = nginx_config(self.directory, f"""
  log_format usher escape=json '{{"time":$msec,"request_id":"$request_id","client":"$remote_addr",'
    '"method":"$request_method","host":"$host","target":"$request_uri","version":"$server_protocol",'
    '"store":"$store","status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,'
    '"duration":$request_time,"upstream_duration":"$upstream_header_time","endpoint":"$upstream_addr"}}';
  {log}
  proxy_buffer_size 8k;
  proxy_buffers 16 8k;
  proxy_max_temp_file_size 0;
  map $host $store {{ default ""; {HOST} {STORE_ID}; }}
  upstream app {{ server 127.0.0.1:{self.app_port}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port} default_server backlog=4096;
    listen 127.0.0.1:{self.http2_port} default_server http2;
    listen 127.0.0.1:{self.tls_port} default_server ssl http2 backlog=4096;
    ssl_certificate {self.certificate.chain};
    ssl_certificate_key {self.certificate.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    if ($store = "") {{ return 404; }}
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Store-Id $store;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
    }}
  }}""")
        return [self.binary, "-p", self.directory, "-c", config]


class Haproxy(Peer):
    """Logs through stdout into the file; a ring that feeds a collector was tried and costs it as much."""

    name = "haproxy"
    title = "HAProxy"
    binary = "haproxy"

    def command(self):
        (self.directory / "stores.map").write_text(f"{HOST} {STORE_ID}\n")
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread 1
  maxconn 16000
  no strict-limits
  {"log stdout format raw local0" if self.log else ""}

defaults
  mode http
  {"log global" if self.log else ""}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always

frontend edge
  bind 127.0.0.1:{self.port} backlog 4096
  bind 127.0.0.1:{self.http2_port} proto h2
  bind 127.0.0.1:{self.tls_port} ssl crt {self.certificate.both} alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 4096
  unique-id-format %[uuid()]
  http-request set-var(txn.host) req.hdr(host),field(1,:),lower
  http-request set-var(txn.store) var(txn.host),map({self.directory}/stores.map)
  http-request return status 404 unless {{ var(txn.store) -m found }}
  http-request set-header X-Store-Id %[var(txn.store)]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Request-Id %[unique-id]
  log-format '%{{+E}}o{{"time":%Ts.%ms,"request_id":"%ID","client":"%ci","method":"%HM","host":"%[var(txn.host)]",\
"target":"%HU","version":"%HV","store":"%[var(txn.store)]","status":%ST,"bytes_in":%U,"bytes_out":%B,"duration":%Ta,\
"upstream_duration":%Tr,"endpoint":"%si:%sp"}}'
  default_backend app

backend app
  server app 127.0.0.1:{self.app_port}
""")
        return [self.binary, "-db", "-f", config]

    def __init__(self, *arguments):
        super().__init__(*arguments)
        if self.log:
            self.log.unlink()
            self.log = Path(self.process.output.name)


PEERS = {peer.name: peer for peer in (Usher, UsherUnparked, Nginx, Haproxy)}


def nginx_config(directory, http):
    """One worker, all files below `directory`, and no limit that would close a busy connection."""
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (directory / name).mkdir()
    config = directory / "nginx.conf"
    user = "user root root;" if os.geteuid() == 0 else ""
    config.write_text(f"""{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 16000; }}
http {{
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000000;
  sendfile on;
  tcp_nopush on;
{http}
}}
""")
    return config


def first_line(command):
    if shutil.which(str(command[0])) is None:
        return "not installed"
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return (ran.stdout + ran.stderr).strip().splitlines()[0]
