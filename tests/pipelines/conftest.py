"""What tests of jobs on several runners share."""

from __future__ import annotations

from collections import Counter

import pytest


@pytest.fixture(scope="session")
def job_metrics():
    """What a job's Beam metrics in the namespace ``lanser`` say, by name: sums of counters, counts of distributions."""

    def of(result) -> dict[str, int]:
        queried = result.metrics().query()
        totals: Counter[str] = Counter()
        for row in (*queried["counters"], *queried["distributions"]):
            if row.key.metric.namespace == "lanser":
                totals[row.key.metric.name] += getattr(row.result, "count", row.result)
        return dict(totals)

    return of
