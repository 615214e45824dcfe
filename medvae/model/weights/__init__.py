"""Small pre-trained networks, made by scripts/pretrain_public.py from procedural data alone."""
