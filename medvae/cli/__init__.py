"""The command line: one thin file a verb over `medvae.api`."""
