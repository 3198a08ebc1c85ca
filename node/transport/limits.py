"""How much can a peer make this node hold?

Every cap on what the other side can grow is here, with the sum that it bounds. Strangers grow nothing: CURVE and ZAP end
their connection before a byte of theirs is decoded.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# -- one message
HEADER_BYTES: Final = 1 * KIB  # what a record takes besides its body: below 300, and room for a longer method name
RECORD_FIELDS: Final = 6  # kind, id, word, remaining milliseconds, body, number of blobs
WORD_CHARS: Final = 128  # a method, a node's name or an error's code
CONTROL_BYTES: Final = 1 * MIB  # a frame, and so a message, of the control lane (MAXMSGSIZE)
BODY_BYTES: Final = CONTROL_BYTES - 64 * KIB  # with its head it fits a frame; 64 results of 100 boxes each are about 300 KiB
BLOBS: Final = 512  # one compute call: a frame and up to 256 crops in, as many out
MESSAGE_BYTES: Final = 8 * MIB  # of the data lane: one raw 1080p picture (6 MiB) and its body; also its largest single frame
MESSAGE_BYTES_LEAST: Final = 320 * KIB  # a quarter of a blob's chunk (256 KiB) and its record, or a burst with its heads

# -- one burst: what is sent to a peer in one turn
BURST_MESSAGES: Final = 128  # records of one head; × 300 B each while it is decoded = 38 KiB
BURST_FIRST: Final = 8  # messages that leave before a turn of the loop ends; then twice as many, and so on
BURST_BYTES: Final = 64 * KIB  # of bodies and blobs that leave at once: the I/O thread works while the loop goes on

HEAD_BYTES_SHORT: Final = 4 * KIB  # a head that is unpacked before it is looked at: × 72 B for an empty list = 288 KiB at worst

# -- one body while it is decoded: 1 MiB of empty maps would become 73 MB without these
BODY_CONTAINERS: Final = 16 * KIB  # × 72 B for an empty map = 1.2 MB of containers
BODY_ITEMS: Final = 64 * KIB  # of one list; × 8 B of references = 512 KiB
BODY_KEYS: Final = 4 * KIB  # of one map
BODY_TEXT_BYTES: Final = 256 * KIB  # one string; × 4 B a character at worst = 1 MiB

# -- one peer
IN_FLIGHT: Final = 64  # calls to a peer, and as many from it: × MESSAGE_BYTES = 512 MiB at the very worst, 6 MiB of usual JPEGs
OUT_QUEUE_MESSAGES: Final = 256  # 64 requests, 64 replies and errors, heartbeats, and room
OUT_QUEUE_BYTES: Final = 32 * MIB  # four of the largest messages wait here, more is Busy
CONTROL_MESSAGES: Final = 64  # high-water mark inside libzmq, each way: × CONTROL_BYTES = 64 MiB for a peer that stops reading
DATA_MESSAGES: Final = 8  # the same of the data lane: × MESSAGE_BYTES = 64 MiB
LINKS_PER_PEER: Final = 4  # both sides dialled, and a half-dead old one of each
CONNECTIONS_PER_KEY: Final = 4  # connections of one key that have a record here; the oldest record goes
ENDED_CONNECTIONS: Final = 4096  # the newest of them are remembered, × 200 B: what they still had under way opens no new link
STRIKES: Final = 3  # undecodable messages of one connection until its peer is cut, both lanes
AHEAD_MESSAGES: Final = 2  # of the largest: what a connection may send after its last complete one, encryption included
GUARD_S: Final = 0.1  # between two looks at that where this process grows: at 300 MB/s another 30 MB get in
GUARD_MOST_S: Final = 5.0  # and where it does not: at 5 µs a look the 2,000 connections of 1,000 peers cost 0.2 % of a core
GROWN_BYTES: Final = 16 * MIB  # what it may grow by in between without a look
DEADLINE_MS: Final = 600_000  # the longest that a request can keep a handler here: ten minutes

# -- what a cloud passes on between members that have no link to each other
RELAYED_SHARE: Final = (
    2  # the part of the calls in flight to or from a peer that relayed ones may be: a half; the rest is the cloud's own
)
RELAYED_BYTES: Final = 16 * MIB  # of one member's unanswered requests: two of the largest
RELAYED_BYTES_ALL: Final = 128 * MIB  # of all of them, so that a thousand members do not hold 16 GiB here

# -- one error on its way back
ERROR_CHARS: Final = 2_000
HINT_CHARS: Final = 500

# -- one turn of the loop
TURN_MESSAGES: Final = 128  # then other callbacks get their turn; at 20 µs each about 3 ms
MONITOR_EVENTS: Final = 512  # connection events taken in one turn

# -- the door
BACKLOG: Final = 1024  # connections that the kernel completes before the I/O thread takes them
REFUSED_KEYS: Final = 256  # unknown keys that are named in the log, each once per start: × 250 B a line = 64 KiB of log
OFFENDERS: Final = 256  # members whose cuts are counted for the audit: × 400 B = 100 KiB
ADDRESS_CHARS: Final = 64  # of a refused key's address, an IPv6 one with its port needs 47
