"""The server's side: the opening handshake, and the factory."""
