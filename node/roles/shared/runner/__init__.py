"""How does a program that strangers wrote run here, and how is its true end known whatever happens to the node?

`runner.py` is what roles use. For each run it has `zygote.py`, a small process, fork a *shim* (`shim.py`): one process that
owns one program and its descendants, holds their limits, and writes down how they ended. A shim survives the node; the next
start of the node finds it again by its identity (`identity.py`). What the program may touch is said by `sandbox.py`.

Rules: the modules that shim and zygote load import nothing but the standard library, or every fork would cost more; and what a
run has to say lies in files of its folder, so that nobody has to be there to hear it.
"""
