"""The verbs: one file for each, or for a group of them.

A file has `run`, the verb, or `app`, a typer application whose commands are the verbs of the group.
`AFTER` names the file that it follows in `medvae --help`. The table is made of what is here (see
`medvae.cli.app`), so that a new verb is entered nowhere else in the command line.
"""
