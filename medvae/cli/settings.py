"""Global options, which may stand before or after the verb."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.api import Session

_VALUES = {
    "--vault": "vault",
    "-t": "tenant",
    "--tenant": "tenant",
    "--identity": "identity",
    "--device": "device",
}
_FLAGS = {
    "--json": "json",
    "-q": "quiet",
    "--quiet": "quiet",
    "-v": "verbose",
    "--verbose": "verbose",
}

GLOBALS_HELP = (
    "Global options, before or after the verb: --vault DIR (MEDVAE_VAULT), -t/--tenant NAME "
    "(MEDVAE_TENANT), --identity FILE (MEDVAE_IDENTITY), --json, -q, -v, "
    "--device auto|cpu|gpu|gpu:N. MEDVAE_PASSPHRASE opens a protected identity."
)


@dataclass
class Settings:
    """The global options of this command."""

    vault: str | None = None
    tenant: str | None = None
    identity: str | None = None
    device: str = "auto"
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def session(self) -> Session:
        """Open the tenant that the options name."""
        from medvae.api import open as open_session

        return open_session(self.vault, self.tenant, identity=self.identity, device=self.device)

    @property
    def vault_path(self) -> Path:
        """The vault's folder."""
        from medvae.api import default_vault

        return Path(self.vault) if self.vault else default_vault()


settings = Settings()


def hoist(argv: list[str]) -> list[str]:
    """Take the global options off the line, wherever they stand, and remember them.

    Raises:
        UsageError: an option that needs a value has none.
    """
    for setting in fields(Settings):
        setattr(settings, setting.name, setting.default)
    # First of all, so that an error in the rest of the line is printed as JSON too.
    settings.json = "--json" in argv
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*rest, word, *words]
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            setattr(settings, _FLAGS[word], True)
        elif name in _VALUES:
            text = value if equals else next(words, None)
            if not text or text in _FLAGS or text in _VALUES:
                raise UsageError(f"{name} needs a value")
            setattr(settings, _VALUES[name], text)
        else:
            rest.append(word)
    if settings.device not in ("auto", "cpu", "gpu", "mps") and not settings.device.startswith(
        "gpu:"
    ):
        raise UsageError(f"--device must be auto, cpu, gpu, gpu:N or mps, not {settings.device!r}")
    return rest
