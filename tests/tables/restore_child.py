"""Restores a backup into a new folder; killed meanwhile."""

from __future__ import annotations

import sys

from palaver.storage.tables.archives.building import restore_database

restore_database(sys.argv[1], sys.argv[2])
