"""What carries a link on to another machine: records over one TLS connection.

A link between processes is a Unix socket (`medvae.privacy.link`). Where the other process is on
another machine, each end's socket leads to a relay, and the two relays pass on what comes, in
records of at most 64 KiB: bytes of the link, questions for the next patient's number, a beat that
says how long the process has used no processor time, and its end. Nothing is parsed or kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

# Kind and length of a record.
_HEAD = struct.Struct("<cI")
MOST = 1 << 16
HELLO, DATA, TURN, BEAT, END = b"h", b"d", b"t", b"b", b"e"
# Both ends must say the same first of all.
GREETING = b"medvae training 1"
# The end of who was invited and comes too late.
FULL = b"all its processes have joined"
# A handshake and a hello take no longer.
HELLO_SECONDS = 10.0
# The other machine, its relay or the network is gone when no beat comes for so long.
BEAT_SECONDS, SILENCE = 5.0, 120.0
# How long the other side may take to close after an end was sent.
LINGER = 10.0

# What an end makes of a record that is no bytes of the link; what it answers, or None.
Handle = Callable[[bytes, bytes], bytes | None]


class EndedError(Exception):
    """The other machine is gone, or sends what is no record."""


class Far:
    """A TLS connection to the relay of another machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> Far:
        """TLS on a connected socket. OSError where the handshake fails or takes too long."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(2 * MOST, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        if server:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=context,
                ssl_handshake_timeout=HELLO_SECONDS,
                ssl_shutdown_timeout=HELLO_SECONDS,
            )
        else:
            transport, _ = await loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=context,
                server_hostname="medvae",
                ssl_handshake_timeout=HELLO_SECONDS,
                ssl_shutdown_timeout=HELLO_SECONDS,
            )
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    def certificate(self) -> bytes | None:
        """DER of what the other end has shown."""
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True)

    async def send(self, kind: bytes, body: bytes = b"") -> None:
        """One record. EndedError where the other end is gone."""
        try:
            self._writer.write(_HEAD.pack(kind, len(body)) + body)
            await self._writer.drain()
        except OSError as error:
            raise EndedError("the connection has ended") from error

    async def receive(self) -> tuple[bytes, bytes]:
        """The next record. EndedError where there is none for `SILENCE` seconds, or ever."""
        try:
            async with asyncio.timeout(SILENCE):
                kind, size = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                if size > MOST:
                    raise EndedError("it sent what is no record")
                return kind, await self._reader.readexactly(size)
        except TimeoutError as error:
            raise EndedError(f"nothing came from it for {SILENCE:g} s") from error
        except (OSError, EOFError) as error:
            raise EndedError("the connection has ended") from error

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is lost."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection; what was sent before goes out first."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), LINGER)


async def relay(
    far: Far,
    near: socket.socket,
    handle: Handle,
    idle: Callable[[], float],
    ending: Callable[[], Awaitable[str]],
    ended: Callable[[str], None],
) -> None:
    """Carry what comes in both directions until one end is gone; closes both.

    Args:
        near: this machine's end, connected to the process here; closed at the end.
        handle: takes what is no bytes of the link. ValueError: it is none of ours, and ends it.
        idle: seconds for which the process here has used no processor time.
        ending: how that process ended, once it has closed its end.
        ended: is given how the other machine's process ended, before `near` is closed.
    """
    reader, writer = await asyncio.open_unix_connection(sock=near)
    outward = asyncio.create_task(_outward(reader, far))
    inward = asyncio.create_task(_inward(far, writer, handle))
    beating = asyncio.create_task(beat(far, idle))
    try:
        await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
        if not inward.done():
            # Said first and closed then, so that nothing on the way is lost by a reset.
            with contextlib.suppress(EndedError):
                await far.send(END, (await ending()).encode()[:MOST])
            await asyncio.wait({inward}, timeout=LINGER)
        if inward.done():
            ended(inward.result())
    finally:
        for task in (outward, inward, beating):
            task.cancel()
        await asyncio.gather(outward, inward, beating, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await far.close()


async def beat(far: Far, idle: Callable[[], float]) -> None:
    """Say now and then that this machine is there, until the connection ends; as `relay` does."""
    with contextlib.suppress(EndedError):
        while True:
            await far.send(BEAT, struct.pack("<d", idle()))
            await asyncio.sleep(BEAT_SECONDS)


async def _outward(reader: asyncio.StreamReader, far: Far) -> None:
    """Bytes of the link, until the process here closes its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(MOST):
            with contextlib.suppress(EndedError):
                # That the other end is gone is seen by who reads from it.
                await far.send(DATA, data)


async def _inward(far: Far, writer: asyncio.StreamWriter, handle: Handle) -> str:
    """What the other machine sends, until its end; returns how it ended."""
    while True:
        try:
            kind, body = await far.receive()
            if kind == END:
                return printable(body)
            if kind != DATA:
                answer = handle(kind, body)
                if answer is not None:
                    await far.send(kind, answer)
                continue
        except EndedError as error:
            return str(error)
        except ValueError:
            return "it sent what is no record"
        if writer.is_closing():
            continue
        with contextlib.suppress(OSError):
            # That the process here is gone is seen by who reads from it.
            writer.write(body)
            await writer.drain()


def printable(body: bytes) -> str:
    """A short text of another machine, for a sentence."""
    text = body.decode("ascii", "replace")[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def idle_of(body: bytes) -> float:
    """Seconds of a beat. ValueError where it is none."""
    if len(body) != 8:
        raise ValueError("no beat")
    (seconds,) = struct.unpack("<d", body)
    if not 0.0 <= seconds < 1e9:
        raise ValueError("no seconds")
    return float(seconds)
