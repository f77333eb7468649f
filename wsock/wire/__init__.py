"""One connection on a Twisted transport. Nothing in here is public but what the application gets as its transport."""
