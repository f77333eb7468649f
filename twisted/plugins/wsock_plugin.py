"""Tells twistd of `twistd wsock`. Read at each start of any twistd, so it imports nothing of wsock."""

from twisted.application.service import ServiceMaker

wsock = ServiceMaker("wsock", "wsock.service.tap", "A WebSocket server.", "wsock")
