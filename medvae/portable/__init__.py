"""Models that draw without medvae: what draws as TorchScript, in a bundle of MONAI."""

from medvae.portable.bundle import write_bundle

__all__ = ["write_bundle"]
