"""The version: its one place. Importable without the rest of the package."""

__version__ = "0.1.0"
