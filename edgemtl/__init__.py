"""edgemtl: one multi-task vision network on edge devices."""

__version__ = "0.1.0"
