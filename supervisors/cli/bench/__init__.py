"""`palaver bench`: servers, load clients, floors and the figures that come of them."""

from __future__ import annotations

from palaver.supervisors.cli.bench.app import bench_app

__all__ = ["bench_app"]
