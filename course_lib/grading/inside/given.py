"""The modules of course_lib that exercises tell students to use, and what those need. Nothing else is inside."""

MODULES = ("attention/rope.py", "attention/checks.py", "attention/precision.py")
