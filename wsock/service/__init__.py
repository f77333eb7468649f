"""`twistd wsock`: the server for the command line, made of the public API alone.

Its console can be had for a server of one's own: `wsock.service.consoleResource`.
"""

from .console import consoleResource as consoleResource
