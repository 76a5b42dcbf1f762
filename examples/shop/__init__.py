"""A shop: the checkout of a cart as a flow of jobs, and a report each night.

    python3 -m examples.shop        in a clone: runs it all, in a few seconds

- ``jobs.py``: the jobs; read this file first
- ``checkout.py``: pushes the flow, as the shop's web page would
- ``store.py``: the shop's own tables, in the same file as the queue's
- ``supplier.py``, ``mail.py``: outside services, which are not always available
"""
