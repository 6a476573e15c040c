"""Backups, checkpoints, restoring, the fallback: Mnesia's way to keep and to bring back.

`operations` is what the database offers; `format` the file; `items` its traversal; `checkpoints`
the views that backups are made of; `restoring` brings records into a running database, `building`
makes a folder of a backup, `fallback` puts such a folder in the place of another one.
"""
