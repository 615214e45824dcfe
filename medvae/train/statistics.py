"""What a hospital released for its anatomy model, as one file that others can join (`hospitals`).

The file is safetensors: the noisy joint vectors, the public numbers that they are measured around,
and the version of both. Its metadata hold a statement in JSON (the plan, whose the model is, what
its ledger and audit log say), the digest of all arrays in it, and the hospital's signature over
it. No pickle, and nothing of the numbers that were made of the vectors: whoever joins makes them
again.

`read` takes bytes of anybody. A signature under the file's own key shows that it is whole, and no
more; who holds the key is for the reader to know (see decision 3).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from medvae.anatomy.registration.geometry import Array
from medvae.config import RunConfig
from medvae.errors import InputError, IntegrityError
from medvae.privacy import Plan, epsilon
from medvae.privacy.plan import MAX_EPSILON

# Bytes of a file: vectors of 64 classes of the largest entry are far below.
LARGEST: Final = 64 << 20
# Bytes of its header, which become many times as many once they are read as JSON.
_LARGEST_HEADER: Final = 2 << 20
RELEASED, CENTRE, MADE = "released.", "centre.", "made."
_DOMAIN: Final = b"medvae statistics v1\x00"
_METADATA: Final = {"statement", "signature", "signer"}
# Two accountants round differently.
_ROUNDING: Final = 1e-3
# Mechanisms of an anatomy model with a centre, and some to spare.
_MECHANISMS: Final = 8
_WANTED: Final = "make one with medvae model export NAME -o FOLDER --format statistics"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]
Figure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, lt=2**31)]
Hex = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AccountFacts(_Facts):
    """What no patient of the hospital had lost more than, when the file was made."""

    epsilon: Figure
    # As a tenant has it.
    delta: Annotated[float, Field(ge=1e-15, lt=1)]
    debits: Annotated[Number, Field(ge=1)]


class LookFacts(_Facts):
    """How often figures on patients had been looked at there."""

    evaluate: Number
    audit: Number


class Statement(_Facts):
    """What the hospital says and signs.

    Attributes:
        format: of this file. `tenant`, `model`: the hospital's own names.
        software: version of medvae. `artifact`: format of the model, of which 2 protects.
        plan: its JSON text; its constants are the public configuration.
        arrays: SHA-256 of all arrays (`digest_of`).
        debited: that the hospital's ledger holds the whole plan; nothing else is a statement.
        limit: the most epsilon that a patient may lose there.
    """

    format: Literal["medvae-statistics-1"] = "medvae-statistics-1"
    tenant: Name
    model: Name
    software: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")]
    artifact: Number
    plan: Annotated[str, Field(max_length=1 << 18)]
    arrays: Hex
    debited: Literal[True]
    limit: Annotated[Figure, Field(le=MAX_EPSILON)]
    account: AccountFacts
    looks: LookFacts


@dataclass(frozen=True)
class Statistics:
    """A file that was read, or is to be written.

    Attributes:
        arrays: by name, each with one of the prefixes `RELEASED`, `CENTRE` and `MADE`.
        signer: public key (PEM) that the signature was checked under.
        source: what a message calls it.
    """

    statement: Statement
    arrays: Mapping[str, Array]
    signer: bytes
    source: str = ""

    @cached_property
    def plan(self) -> Plan:
        """Its plan, with epsilon recomputed from the mechanisms."""
        return Plan.from_json(self.statement.plan)

    @cached_property
    def config(self) -> RunConfig:
        """The public configuration that the plan is bound to."""
        return RunConfig.model_validate(json.loads(self.statement.plan)["constants"])

    def under(self, prefix: str) -> dict[str, Array]:
        """Arrays whose names begin with a prefix, without it."""
        return {
            name.removeprefix(prefix): values
            for name, values in self.arrays.items()
            if name.startswith(prefix)
        }


def digest_of(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of names, shapes and values (little-endian float64), by name."""
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        shape = ",".join(map(str, values.shape))
        digest.update(f"{name} {shape}\n".encode())
        digest.update(np.asarray(values, "<f8").tobytes())
    return digest.hexdigest()


def write(
    statement: Statement,
    arrays: Mapping[str, Array],
    sign: Callable[[bytes], bytes],
    public_key: bytes,
) -> bytes:
    """The file; equal statements give equal bytes.

    sign: gives the 64-byte signature of the hospital under `public_key` (PEM).
    """
    text = json.dumps(statement.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    metadata = {
        "statement": text,
        "signature": sign(_DOMAIN + text.encode()).hex(),
        "signer": public_key.decode("ascii"),
    }
    ordered = {name: np.asarray(arrays[name], "<f8", order="C") for name in sorted(arrays)}
    return save_arrays(ordered, metadata)


def read(
    data: bytes, verify: Callable[[bytes, bytes, bytes], bool], source: str = "the file"
) -> Statistics:
    """Read what `write` gave, from anybody: nothing of it is used before it was checked.

    verify: whether (public key, signature, bytes) fit.

    Raises:
        InputError: it is no such file, or says what no hospital can say.
        IntegrityError: it was damaged or changed after it was signed.
    """
    metadata = _metadata(data, source)
    try:
        text, signer = metadata["statement"].encode(), metadata["signer"].encode()
        signed = verify(signer, bytes.fromhex(metadata["signature"]), _DOMAIN + text)
    except Exception as error:
        raise IntegrityError(f"{source}: its signature cannot be read: {error}") from error
    if not signed:
        raise IntegrityError(f"{source} was changed after it was signed; {_again()}")
    try:
        statement = Statement.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        raise InputError(
            f"{source} states what no hospital can state ({where}: {first['msg']}); {_WANTED}"
        ) from error
    try:
        arrays = load_arrays(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{source} is damaged or cut short ({error}); {_again()}") from error
    if any(values.dtype != np.float64 for values in arrays.values()):
        raise InputError(f"{source} holds numbers of another kind than float64; {_WANTED}")
    if digest_of(arrays) != statement.arrays:
        raise IntegrityError(f"{source} holds other numbers than were signed; {_again()}")
    statistics = Statistics(statement, arrays, signer, source)
    _check_plan(statistics)
    _check_account(statistics)
    return statistics


def _again() -> str:
    return "get it from the hospital again"


def _metadata(data: bytes, source: str) -> dict[str, str]:
    """The texts in the header of a safetensors file."""
    if len(data) > LARGEST:
        raise InputError(f"{source} has more than {LARGEST >> 20} MiB, as no export has; {_WANTED}")
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= len(data) - 8:
        raise InputError(
            f"{source} is no export of statistics, or the beginning of one alone; {_WANTED}"
        )
    if size > _LARGEST_HEADER:
        raise InputError(
            f"{source} has a header of more than {_LARGEST_HEADER >> 20} MiB, as no export has; "
            f"{_WANTED}"
        )
    try:
        found = json.loads(data[8 : 8 + size])["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{source} is no export of statistics; {_WANTED}") from error
    if (
        not isinstance(found, dict)
        or set(found) != _METADATA
        or not all(isinstance(value, str) for value in found.values())
    ):
        raise InputError(f"{source} is no export of statistics; {_WANTED}")
    return found


def _check_plan(statistics: Statistics) -> None:
    """The plan is one of a few Gaussian mechanisms of everybody, and costs what it says."""
    source = statistics.source
    try:
        raw: Any = json.loads(statistics.statement.plan)
        mechanisms = list(raw["mechanisms"])
        # Before anything is computed of them: a crowd of odd mechanisms would take hours.
        if not 1 <= len(mechanisms) <= _MECHANISMS:
            raise ValueError(f"it has {len(mechanisms)} mechanisms")
        if any(one["sample_rate"] != 1 or one["steps"] != 1 for one in mechanisms):
            raise ValueError("a mechanism of it does not see every patient once")
        if type(raw["constants"]["privacy"]["epsilon"]) not in (int, float):
            raise ValueError("its target is no number")
        _ = statistics.plan
        _ = statistics.config
    except IntegrityError as error:
        raise IntegrityError(f"{source}: {error}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{source} has no plan of an anatomy model ({said}): only statistics of one can be "
            f"joined; {_WANTED}"
        ) from error


def _check_account(statistics: Statistics) -> None:
    """What the hospital says that nobody has lost more than holds its plan, at least."""
    account = statistics.statement.account
    cost = epsilon(statistics.plan.mechanisms, account.delta)
    if not cost <= account.epsilon * (1 + _ROUNDING):
        raise InputError(
            f"{statistics.source} states what no hospital can state (account: no patient lost more "
            f"than epsilon {account.epsilon:.4g}, and its plan alone costs {cost:.4g}); {_WANTED}"
        )
