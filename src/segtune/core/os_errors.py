"""What the operating system's errors mean for a person: words and advice for each error number, in one table."""

from __future__ import annotations

import errno
import re

_OTHER_PLACE = "choose another place, one that you may read and write"
_DRIVE = "see whether the drive is still there and works (`dmesg` tells), then try again or copy the files elsewhere"
_NETWORK = "see whether the network and its drives work, then try again"

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk is full, or this person's share of it."""

TABLE: dict[int, tuple[str, str]] = {
    errno.EACCES: ("Permission denied", _OTHER_PLACE),
    errno.EPERM: ("Operation not permitted", _OTHER_PLACE),
    errno.EROFS: ("the file system is read-only", _OTHER_PLACE),
    errno.ENOENT: ("no such file or folder", "see whether it was moved, removed or renamed meanwhile"),
    errno.EEXIST: ("there is a file of that name already", _OTHER_PLACE),
    errno.ENOTEMPTY: ("the folder is not empty", _OTHER_PLACE),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", _OTHER_PLACE),
    errno.EISDIR: ("this is a folder, not a file", _OTHER_PLACE),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose shorter names of files and folders"),
    errno.EILSEQ: ("this file system cannot hold such a name", "choose a name of plain letters and digits"),
    errno.ELOOP: ("symbolic links here point to each other", "remove or correct the links"),
    errno.EBUSY: ("it is in use by something else", "wait for it or end what uses it, then try again"),
    errno.ETXTBSY: ("it is in use by something else", "wait for it or end what uses it, then try again"),
    errno.EFBIG: ("the file would be larger than is allowed", "raise `ulimit -f`, or choose another file system"),
    errno.EIO: ("the drive reported an error (input/output error)", _DRIVE),
    errno.ENXIO: ("the device is not there", _DRIVE),
    errno.ENODEV: ("the device is not there", _DRIVE),
    errno.ENOTCONN: ("the drive is no longer connected", _DRIVE),
    errno.ESTALE: ("the network drive no longer knows this file (stale file handle)", _NETWORK),
    errno.ETIMEDOUT: ("no answer in time", _NETWORK),
    errno.EHOSTDOWN: ("the other machine is down", _NETWORK),
    errno.EHOSTUNREACH: ("the other machine cannot be reached", _NETWORK),
    errno.ENETUNREACH: ("the network cannot be reached", _NETWORK),
    errno.ECONNREFUSED: ("the connection was refused", _NETWORK),
    errno.ECONNRESET: ("the connection was closed by the other side", _NETWORK),
    errno.EPIPE: ("the connection was closed by the other side", _NETWORK),
    errno.EMFILE: ("too many open files", "raise the limit with `ulimit -n 4096`, or use fewer data.num_workers"),
    errno.ENFILE: ("too many open files on this machine", "end other programs, or use fewer data.num_workers"),
    errno.EAGAIN: ("the system has no room for another process", "end other programs, or use fewer data.num_workers"),
    errno.ENOLCK: ("this file system gives no locks", _OTHER_PLACE),
    errno.ENOSYS: ("this file system cannot do that", _OTHER_PLACE),
    errno.EOPNOTSUPP: ("this file system cannot do that", _OTHER_PLACE),
}
"""By error number: what has happened, and what can be done."""

_OF_THE_MACHINE = FULL | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EPIPE, errno.ENOSYS}
_RUST = re.compile(r"\(os error (\d+)\)")


def text_of(error: BaseException) -> str:
    """The words of an exception; a foreign one may raise another when it is asked for them."""
    try:
        return str(error)
    except Exception:
        return "(it cannot say what)"


def number_of(error: BaseException) -> int | None:
    """The error number of an exception; that of a library in Rust (safetensors, tokenizers) stands in its text."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int):
        return number
    found = _RUST.search(text_of(error))
    return int(found[1]) if found else None


def words_for(error: BaseException) -> tuple[str, str]:
    """What has happened and what can be done; the system's own words where the table has none."""
    known = TABLE.get(number_of(error) or 0)
    if known is not None:
        return known
    said = getattr(error, "strerror", None) or text_of(error) or type(error).__name__
    return said, "see whether this file can be read and written by other programs"


def is_of_a_file(error: OSError) -> bool:
    """Whether an error is about the file that was asked for, not about what the machine has left."""
    return error.errno is not None and error.errno not in _OF_THE_MACHINE
