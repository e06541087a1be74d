"""Visual inspection of manufactured products by transfer learning."""

__version__ = "0.1.0"
