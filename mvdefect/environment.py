"""What a run was made with: versions, machine and command."""

from __future__ import annotations

import platform
import resource
import sys
from importlib import metadata
from typing import Any

from mvdefect import __version__
from mvdefect.parallel import count_cores

PACKAGES = (
    "keras",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "tensorflow",
    "tensorflow-datasets",
)


def describe_environment() -> dict[str, Any]:
    """Return versions, machine, devices and command line, as a tree for JSON."""
    import tensorflow as tf

    return {
        "mvdefect": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cores": count_cores(),
        "devices": [device.device_type for device in tf.config.list_physical_devices()],
        "command": ["mvdefect", *sys.argv[1:]],
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
