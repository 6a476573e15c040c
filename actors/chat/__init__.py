"""The messaging system as actors: sessions, gateways, sequencers, queues, presence, media.

`state` holds what is decided, deterministically, from commands; `queries` what can be asked of it.
The processes around them carry messages in and effects out. The supervision tree that starts them
is :mod:`palaver.supervisors.trees.chat`.
"""
