"""`twistd wsock`: the server for the command line, made of the public API alone."""
