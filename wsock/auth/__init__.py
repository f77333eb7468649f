"""Authentication: functions around a ``buildApplication``, and the checks that they ask. Their names are in `wsock`."""
