"""Image archives (PACS) over the network: DICOMweb and DIMSE.

A stage of its own: what is received stays in anonymous memory (`hold`) and is handed on as one
archive a study. Nothing here parses a scan (`server` reads only the study's UID of an image that is
sent to us), and nothing is written under a name from the wire. It connects only to a peer that the
user named.
"""
