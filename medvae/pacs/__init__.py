"""Image archives (PACS) over the network: DICOMweb and DIMSE.

A stage of its own: what is received stays in anonymous memory (`hold`) and is handed on as one
archive a study; nothing here parses a scan (of an image that is sent to us, `server` reads the
study's UID), and nothing is written under a name from the wire.
Only a peer that the user named is ever spoken to.
"""
