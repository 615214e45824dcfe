"""The label-driven anatomy model: registration in millimetres and the public library.

Everything here works on arrays and public files. It knows of no tenant, no budget and no stage;
`medvae.api` brings patients and privacy to it.
"""
