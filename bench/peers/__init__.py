"""Other libraries at the same work, in a virtual environment of their own: make bench-peers.

Each has an adapter, a module of this package. It is run in a process of its own, to push;
its worker is started as the library's documentation says.
"""
