"""The WebSocket protocol without I/O: bytes in, events out, bytes to send. Standard library only."""
