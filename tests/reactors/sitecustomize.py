"""Has each process that imports this folder first run on the reactor that WSOCK_REACTOR names, `twistd` among them.

Python imports a module of this name as it starts. The names are Twisted's; "uvloop" is its asyncio reactor on a loop of
uvloop's.
"""

import os
from importlib import import_module

name = os.environ["WSOCK_REACTOR"]
if name == "uvloop":
    import asyncio

    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    name = "asyncio"
import_module("twisted.internet.default").install = import_module(f"twisted.internet.{name}reactor").install
