"""How scans come into a tenant: from files, from an archive that is asked, from whoever sends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import results
from medvae.options.archives import ListenOptions, PullOptions
from medvae.options.flags import takes
from medvae.options.ingest import IngestOptions

if TYPE_CHECKING:
    from medvae.ingest.first import First
    from medvae.vault import Tenant, Vault


@dataclass(frozen=True)
class Arrivals:
    """The part of a session that takes scans in (see `medvae.api.session.Session`)."""

    vault: Vault
    tenant: Tenant
    device: str = "auto"

    @takes(IngestOptions)
    def ingest(self, options: IngestOptions) -> results.IngestResult:
        """Read scans, de-identify them, seal them, and make a new version of a data set.

        `label_scheme` (a mapping, "1=name,2=name" or a file), `classes` (how many) and `sites`
        (names, () for none) declare public facts of the protocol; the table's `site_column` is
        then site by default. `channels`: contrasts of one case, such as t1 and t2, that become the
        channels of one volume. `files_are_patients`: an image that names no patient is a subject of
        its own, and the unit of privacy is the file. `orientation`: how the axes run of files that
        do not say it, such as "LPS". `workers`: confined processes that read at a time; the result
        is the same for any number. `require_sandbox`: refuse where a layer of their confinement is
        missing, which is a note otherwise. `dry_run`: store nothing, and list what would be stored;
        `sheet`: a new .png of it, which shows patients.
        """
        from medvae.ingest.first import started

        # Ahead of what this process itself has to load: both get ready at the same time.
        with started() as first:
            return self._ingest(options, first)

    def _ingest(self, options: IngestOptions, first: First) -> results.IngestResult:
        from medvae.api import intake

        paths = [Path(source) for source in options.sources]
        return intake.ingest(self.tenant, paths, options, first)

    @takes(PullOptions)
    def pull(self, options: PullOptions) -> results.PullResult:
        """Fetch studies from an image archive (PACS) and ingest them; all of them or none.

        `peer`: the https:// address of a DICOMweb service, or AETITLE@HOST:PORT (DIMSE, which
        fetches the series of CT, MR and PET with their masks). `studies` (UIDs), `patient` (one
        PatientID), `modality` ("ct", "mri", "pet"), `dates` (YYYYMMDD or a range of two with a
        hyphen) and `limit` say which. They are held in memory alone, `memory_limit` GiB at most;
        a study that is cut short, or holds another study or patient, is stored in no part.

        `move`: a port of ours, to which an archive that answers no C-GET is asked to send (C-MOVE);
        it has to know our title by this machine's address and that port, of which `bind` is ours.
        By TLS we prove ourselves there, too, by the certificate of `link`.

        `link`: how to reach it; as a rule by TLS, whose certificate the system's authorities
        must have signed. Credentials are taken from MEDVAE_PACS_USER and MEDVAE_PACS_PASSWORD,
        or MEDVAE_PACS_TOKEN. The rest as in `ingest`.
        """
        from medvae.api import archives

        return archives.pull(self.tenant, options)

    @takes(ListenOptions)
    def listen(self, options: ListenOptions) -> results.ListenResult:
        """Receive what archives and scanners send by DIMSE (C-STORE), then ingest it, all or none.

        It ends when `studies` have come whole and nobody has been sending for `settle` seconds,
        after `seconds`, or at Ctrl-C (KeyboardInterrupt); a study that had not come whole by then
        is left out, and a note says so. `aet` is what senders must call us, `allow` are the titles
        that may send (none: any; a title proves nothing). At most `associations` at a time.

        `link`: `client_cert` and `client_key` are ours, `ca` has signed those of the senders;
        beyond this machine it is TLS or `plaintext`. `ready` is called with the address. The
        rest as in `pull`.
        """
        from medvae.api import listening

        return listening.listen(self.tenant, options)
