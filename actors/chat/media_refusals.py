"""What a failing disk or blob store is to the one who asked; the log gets the details."""

from __future__ import annotations

import errno
from typing import Final

import structlog

from palaver.storage.blobs import BlobError
from palaver.transport.http.media_port import MediaCode, MediaRefused

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def disk_refusal(error: OSError) -> MediaRefused:
    """The refusal for a failed disk operation."""
    structlog.get_logger("palaver.media").warning("media_disk_failed", error=str(error))
    if error.errno in _NO_SPACE:
        return MediaRefused(MediaCode.NO_SPACE, "the server has no space left")
    return MediaRefused(MediaCode.UNAVAILABLE, "the server cannot write the upload now")


def blob_refusal(error: BlobError) -> MediaRefused:
    """The refusal for a failed operation of the blob store."""
    structlog.get_logger("palaver.media").warning("media_blobs_failed", error=str(error))
    return MediaRefused(MediaCode.UNAVAILABLE, "the file store cannot be reached now")
