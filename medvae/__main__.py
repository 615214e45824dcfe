"""`python -m medvae` is `medvae`."""

from medvae.cli import main

main()
