"""The same work with other tools, which are installed apart (``make bench-peers``)."""
