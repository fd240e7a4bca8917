"""What the commands that measure have in common: how they end, and what they install."""

import os
import shutil
import signal
import subprocess
import sys
from glob import glob

from peers import Failed


def carry_out(measure):
    """Runs `measure`; a stop or a failure ends the children too, and leaves no figure behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exit runs what ends the children
    try:
        measure()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except (Failed, subprocess.SubprocessError) as failure:
        sys.exit(f"no figure: {failure}")


def install(packages):
    """Of the programs, each with its Debian package, those that are missing."""
    missing = [package for program, package in sorted(packages.items()) if not is_there(program)]
    if missing:
        apt = [*([] if os.geteuid() == 0 else ["sudo"]), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        subprocess.run([*apt, "update", "-q"], check=True)
        subprocess.run([*apt, "install", "-q", "-y", "--no-install-recommends", *missing], check=True)


def is_there(program):
    """Debian keeps PostgreSQL's programs out of PATH; `PGBIN` names another folder of them."""
    folders = [os.environ.get("PATH", os.defpath), os.environ.get("PGBIN"), *glob("/usr/lib/postgresql/*/bin")]
    return shutil.which(program, path=os.pathsep.join(filter(None, folders))) is not None
