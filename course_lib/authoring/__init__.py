"""From one chapter source to a student notebook, a solution notebook and the pages around them.

Only a teacher or contributor needs this package; it may import jupytext and PyYAML, which the `author`
extra brings. Nothing that a student imports reaches it.
"""
