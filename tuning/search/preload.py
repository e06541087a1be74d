"""What the server of `tuning.search.processes` imports, once and for all processes that it forks.

Importing is all that may happen here: a process in which TensorFlow has computed anything cannot be forked.
"""

from __future__ import annotations

from mvdefect.core.runtime import muted_stderr

with muted_stderr():  # what native code says when it is imported
    import tuning.tune  # noqa: F401
