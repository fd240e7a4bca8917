"""A throw-away PostgreSQL with the example stores, for usher and for the app."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
from peers import Failed, free_port

START_DEADLINE_SECONDS = 20
ROOT = Path(__file__).resolve().parents[2]


class Database:
    """A server of its own, on a port of its own; its files go with the folder."""

    def __init__(self, directory, usher):
        self.directory = directory / "database"
        self.directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        self.port = free_port()
        self.url = f"postgres://usher@127.0.0.1:{self.port}/postgres"
        self.data = self.directory / "data"
        self.run("initdb", "--auth=trust", "--username=usher", "--no-sync", "--encoding=UTF8", "--locale=C", "-D", self.data)
        self.start()
        try:
            self.fill(usher)
        except BaseException:
            self.stop()
            raise

    def start(self):
        """Returns once it answers; also after it was stopped."""
        self.server = subprocess.Popen(
            self.command("postgres", "-D", self.data, "-p", self.port, "-h", "127.0.0.1", "-k", self.directory,
                         "-c", "fsync=off", "-c", "max_connections=200"),
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while True:
            try:
                return psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self.server.poll() is not None:
                    raise Failed(f"PostgreSQL does not answer: {error}") from error
                time.sleep(0.1)

    def fill(self, usher):
        environment = {**os.environ, "USHER_DATABASE_URL": self.url}
        config = ROOT / "config/usher.minimal.toml"
        subprocess.run([usher, "migrate", "--config", config], env=environment, check=True, stdout=subprocess.DEVNULL)
        for name in ("schema.sql", "rows.sql"):
            self.execute((ROOT / "deploy/fastapi" / name).read_text())

    def execute(self, sql):
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def orders(self):
        """How often each order was placed, by its reference."""
        return dict(self.execute("SELECT reference, count(*) FROM orders GROUP BY reference"))

    def forget_orders(self):
        self.execute("TRUNCATE orders")

    def run(self, *arguments):
        subprocess.run(self.command(*arguments), cwd="/", check=True, stdout=subprocess.DEVNULL)

    def command(self, program, *arguments):
        newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
        folder = os.environ.get("PGBIN") or newest
        if folder is None:
            raise Failed("PostgreSQL is missing: install Debian's postgresql, or set PGBIN")
        owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        return [*owner, str(Path(folder) / program), *map(str, arguments)]

    def stop(self):
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(20)
