"""A shop: the checkout of a cart as a flow of jobs, and a report each night.

    python3 -m examples.shop        tells the whole story in some seconds

- ``jobs.py``: the jobs, which is what there is to learn here
- ``checkout.py``: pushes the flow, as the shop's web page would
- ``store.py``: the shop's own tables, in the same file as the queue's
- ``supplier.py``, ``mail.py``: the world outside, which is not always there
"""
