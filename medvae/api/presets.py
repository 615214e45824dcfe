"""Configurations: presets that ship with medvae, and what each key means. Needs no vault."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from medvae.api.results import Json, KeyInfo, PresetInfo
from medvae.errors import AccessError, UsageError


def configs() -> tuple[PresetInfo, ...]:
    """Every preset: its name, as `-c` takes it, and what it is for."""
    from medvae.config_files import presets

    return tuple(PresetInfo(preset.name, preset.summary) for preset in presets().values())


def config_text(name: str) -> str:
    """The YAML of a preset.

    Raises:
        UsageError: there is no such preset.
    """
    from medvae.config_files import preset

    return preset(name).text


def copy_config(name: str, out: str | os.PathLike[str] | None = None) -> Path:
    """Write a preset as a file to change: `out`, or NAME.yaml in the working folder.

    Raises:
        UsageError: there is no such preset, or the file exists.
        AccessError: it cannot be written.
    """
    text = config_text(name)
    path = Path(f"{name}.yaml" if out is None else out)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file") from None
    except OSError as error:
        raise AccessError(f"{path} cannot be written: {error.strerror}") from error
    return path


def explain_config(key: str | None = None) -> tuple[KeyInfo, ...]:
    """What a key means, takes and defaults to, and its value in each preset.

    Args:
        key: a dotted key, a section (all of its keys), or None (all keys).

    Raises:
        UsageError: there is no such key; the message names the nearest.
    """
    from medvae.config_files import explain, load_config, presets
    from medvae.config_keys import KEYS

    keys = list(KEYS.values()) if key is None else explain(key)
    shipped = {name: load_config(name).model_dump(mode="json") for name in presets()}
    return tuple(
        KeyInfo(
            name=key_info.name,
            values=key_info.values,
            default=key_info.default,
            description=key_info.description,
            configs={name: _at(cfg, key_info.name) for name, cfg in shipped.items()},
        )
        for key_info in keys
    )


def _at(configuration: Mapping[str, Json], key: str) -> Json:
    value: Json = configuration
    for part in key.split("."):
        assert isinstance(value, Mapping)
        value = value[part]
    return value
