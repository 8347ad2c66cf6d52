"""What a log call and a delivered entry cost, beside the standard library, an ideal sender and other handlers.

``python -m benchmarks`` runs everything; ``--help`` shows how to choose. The way of a figure:

``scenarios`` names the cases, ``running`` starts a fresh process for each run (``child``, which makes a subject of
``subjects`` or ``peers`` and has ``measures`` drive it) and a receiver beside it (``sink``, which counts what
arrived), ``figures`` turns medians into ratios and compares them with what is to be reached, and ``report`` with
``plot`` writes docs/performance.md. ``baseline.json`` keeps the last figures that were written.
"""
