"""Keeps entries on disk until they are delivered: the only place that writes spool files.

``SpoolDirectory`` (``directory``, on a ``place``) is what a handler's ``spool_dir`` names; it makes a ``StreamStore``
(``stream``) for the handler's own stream, adopts those of dead processes, and ``listing`` shows them all. Below
that, in the order of an entry's journey: ``identity`` and ``home`` say whose it is and own its directory, ``making``
and ``writing`` put it, as one of the ``frames``, into one of the ``segments``; ``syncing`` brings it to the disk;
``catalogue``, ``cursor`` and ``settling`` know whether it is settled and write that down; ``survey`` and ``reading``
find it again; a ``shelf`` keeps what nobody takes as ``dead_letters``. All use the operating system through
``system`` and ``locks`` only. No threads, no network, no logging.
"""

from __future__ import annotations

from defender_logging._pipeline.spool.dead_letters import DeadLetter, DeadLetters
from defender_logging._pipeline.spool.directory import SpoolDirectory
from defender_logging._pipeline.spool.identity import Identity
from defender_logging._pipeline.spool.listing import StreamInfo, describe_streams, entries_of
from defender_logging._pipeline.spool.locks import abandon_locks
from defender_logging._pipeline.spool.stream import StreamStore
from defender_logging._pipeline.spool.survey import Damage
from defender_logging._pipeline.spool.syncing import Fsync
from defender_logging._pipeline.spool.system import SpoolError

__all__ = [
    "Damage",
    "DeadLetter",
    "DeadLetters",
    "Fsync",
    "Identity",
    "SpoolDirectory",
    "SpoolError",
    "StreamInfo",
    "StreamStore",
    "abandon_locks",
    "describe_streams",
    "entries_of",
]
