"""The client's side: the opening handshake, the factory, and `connect`."""
