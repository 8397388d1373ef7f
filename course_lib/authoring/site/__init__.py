"""The course as a website that reads offline: Sphinx over the stored notebooks, the README and the docstrings.

`pages` writes the source folder, `build` fetches MathJax and runs Sphinx, `links` looks at what came out. Nothing is
executed: a page shows the outputs that its notebook keeps. Only `build` needs the extra `site`.
"""
