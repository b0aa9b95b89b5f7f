"""GET /metrics: what a server has done since it was started, in the text format of Prometheus."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch import Service

KIND = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # bounds of the histogram


class Metrics:
    """statuses: requests by HTTP status. times: answered predictions by the first of SECONDS that covers them."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.times = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        if path == "/predict" and status == 200:
            self.times[bisect.bisect_left(SECONDS, seconds)] += 1
            self.total += seconds

    def text(self, service: Service) -> str:
        """The page."""
        counts = {f'{{status="{status}"}}': n for status, n in sorted(self.statuses.items())}
        lines = _of("requests_total", "counter", "Requests answered, by HTTP status", counts)
        lines += _of("errors_total", "counter", "Requests that the model or the server failed on", {"": service.errors})
        if service.log:
            lines += _of("logged_rows_total", "counter", "Rows in the prediction log", {"": service.log.written})
            lines += _of("lost_rows_total", "counter", "Rows that the prediction log lost", {"": service.log.lost})
        lines += _of("ready", "gauge", "1 when the promoted version serves", {"": int(not service.problem)})
        version = {f'{{version="{service.package.version}"}}': 1}
        lines += _of("model_info", "gauge", "The version that serves", version)
        below = [sum(self.times[: i + 1]) for i in range(len(self.times))]
        bounds = [f'_bucket{{le="{bound}"}}' for bound in (*SECONDS, "+Inf")]
        histogram = dict(zip(bounds, below, strict=True)) | {"_sum": self.total, "_count": below[-1]}
        lines += _of("predict_seconds", "histogram", "Time to answer a prediction, without the network", histogram)
        return "\n".join(lines) + "\n"


def _of(name: str, kind: str, told: str, values: Mapping[str, float]) -> list[str]:
    return [
        f"# HELP recipe_{name} {told}.",
        f"# TYPE recipe_{name} {kind}",
        *(f"recipe_{name}{more} {value}" for more, value in values.items()),
    ]
