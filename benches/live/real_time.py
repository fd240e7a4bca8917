"""Who is measured goes before all others on the core that they share. What comes of waiting there for the database, or for the flood, is
no part of what is asked of the router."""

import os
from contextlib import contextmanager

PRIORITY = os.sched_param(1)


@contextmanager
def real_time():
    """For this thread, and for what it starts meanwhile: threads and processes inherit. Yields whether that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, PRIORITY)
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
