"""The teacher's grader: a folder of untrusted notebooks in, fair grades out.

Two processes. A submission runs in a sandbox that holds no reference, seed or key; this package draws the
inputs, sends them in, and judges the values that come back. Needs the extra `grade` and bubblewrap.
"""
