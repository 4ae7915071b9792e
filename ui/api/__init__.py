"""The REST API under `/api/v1`: a module for each resource, and `router.register` adds them all.

A route checks what came, asks `authorize`, and makes one call. Errors become answers in
`problems.py` only, and paths become names (and back) in `naming.py` only.
"""
