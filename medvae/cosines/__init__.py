"""Images as few cosines: a mean and a covariance a class, and the power of what is finer.

A strong baseline where there is no library of public people: pictures, and contrasts that are drawn
together. Knows public constants, vectors of one image, and released numbers; nothing of patients.
"""
