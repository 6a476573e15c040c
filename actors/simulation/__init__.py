"""The tester's kit: a deterministic world for actors, faults, statements, checkers of histories."""

from palaver.actors.simulation.between import *  # noqa: F403 - its face is part of this one
from palaver.actors.simulation.between import __all__ as _between
from palaver.actors.simulation.guarding import *  # noqa: F403
from palaver.actors.simulation.guarding import __all__ as _guarding
from palaver.actors.simulation.guarding.checking import Diverged, check_deterministic
from palaver.actors.simulation.histories import *  # noqa: F403
from palaver.actors.simulation.histories import __all__ as _histories
from palaver.actors.simulation.world import *  # noqa: F403
from palaver.actors.simulation.world import __all__ as _world

__all__ = ["Diverged", "check_deterministic", *_between, *_guarding, *_histories, *_world]
