"""The app of deploy/fastapi, by uvicorn as its README says, on a port that is free; its database is in the environment."""

import socket
import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[3] / "deploy/fastapi"))

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config("shop.main:app", proxy_headers=False, log_level="warning")
uvicorn.Server(config).run(sockets=[listener])
