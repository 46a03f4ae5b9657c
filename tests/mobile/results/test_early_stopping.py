"""MLPerf's early stopping: the published figures, scipy's binomial, and LoadGen itself."""

from __future__ import annotations

import re

import pytest

from mobile.errors import UsageError
from mobile.results.early_stopping import discarded, least_queries, percentile_bound


@pytest.mark.parametrize(("queries", "out"), [(2048, 172), (2145, 181), (2116, 178), (7469, 685)])
def test_published_logs_are_reproduced(queries, out):
    assert discarded(queries, 0.9) == out


@pytest.mark.parametrize(("share", "least"), [(0.9, 64), (0.95, 130), (0.97, 219), (0.99, 662), (0.999, 6636)])
def test_the_least_number_of_queries_is_the_published_one(share, least):
    assert least_queries(share) == least
    assert discarded(least, share) == 0
    assert discarded(least - 1, share) is None


@pytest.mark.parametrize("queries", [64, 1000, 100_000])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_it_is_the_binomial_of_scipy(queries, share):
    stats = pytest.importorskip("scipy.stats")
    most = -1
    while stats.binom.cdf(most + 1, queries, 1 - share) <= 0.01:
        most = most + 1 if queries < 2000 else int(stats.binom.ppf(0.01, queries, 1 - share)) - 1
        if queries >= 2000:
            break
    assert discarded(queries, share) == (most - 1 if most >= 1 else None)


def test_the_bound_is_the_largest_that_is_left():
    latencies = [float(value) for value in range(2048)]
    found = percentile_bound(latencies[::-1], 0.9)
    assert (found.bound, found.discarded, found.needed) == (2047 - 172, 172, 64)
    assert percentile_bound(latencies[:63], 0.9) == (None, None, 64)
    assert percentile_bound([], 0.9).bound is None


def test_the_bound_holds_in_99_of_100_cases():
    numpy = pytest.importorskip("numpy")
    rng = numpy.random.default_rng(1)
    held = sum(percentile_bound(rng.random(200).tolist(), 0.9).bound >= 0.9 for _ in range(1000))
    assert held >= 978


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="lie between 0 and 1"):
        discarded(100, share)


def test_loadgen_discards_as_many(tmp_path):
    loadgen = pytest.importorskip("mlperf_loadgen")
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_query_count, settings.max_query_count = 2048, 2048
    settings.min_duration_ms = 0

    def answer(samples):
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    system = loadgen.ConstructSUT(answer, lambda: None)
    library = loadgen.ConstructQSL(16, 16, lambda samples: None, lambda samples: None)
    output, log = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir, log.log_output = str(tmp_path), output
    try:
        loadgen.StartTestWithLogSettings(system, library, settings, log)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    text = (tmp_path / "mlperf_log_summary.txt").read_text()
    count = int(re.search(r"Processed at least 64 queries \((\d+)\)", text).group(1))
    assert int(re.search(r"Would discard (\d+) highest latency queries", text).group(1)) == discarded(count, 0.9)
