"""What the traffic itself tells: bandwidth, round trip, how slow the server is, how slow the device has become.

No probe is needed while requests flow, and times of two clocks are never subtracted: a request's time on the link is
what we waited less what the server says it took.
"""

from typing import NamedTuple, Optional, Tuple

DRIFT = 0.1  # standard deviation of how much a link changes from one request to the next, as a share
NOISE, NOISE_S = 0.05, 0.5e-3  # of one request's time: a share of it, and a part that is always there
SURPRISE = 3.0  # standard deviations from which on the link is taken to have changed
LEAST_BPS, MOST_BPS = 1e2, 1e12
LEAST_RTT_S, LONGEST_S = 1e-6, 3600.0


class Exchange(NamedTuple):
    """One request: bits each way, seconds from the first byte sent to the last received, and the server's own time."""

    up_bits: float
    down_bits: float
    total_s: float
    service_s: float


class LinkEstimate:
    """Bandwidth and round trip of a link, from requests: a Kalman filter whose state is (round trip, seconds per bit)
    and whose measurement is a request's time on the link, ``rtt + bits * seconds per bit`` (Kalman, A new approach to
    linear filtering and prediction problems, 1960). So a request of few bits tells about the round trip, one of many
    about the bandwidth, and each as far as it can. The downlink follows the uplink by a fixed ratio.
    """

    def __init__(self, uplink_bps: float, downlink_bps: float, rtt_s: float) -> None:
        self._ratio = downlink_bps / uplink_bps
        self._rtt_s = max(rtt_s, LEAST_RTT_S)
        self._bit_s = 1.0 / uplink_bps
        # Variances of the round trip and of the seconds per bit, and their covariance: at first nothing is certain.
        self._p = (self._rtt_s**2, self._bit_s**2, 0.0)

    @property
    def uplink_bps(self) -> float:
        """The uplink's bandwidth."""
        return 1.0 / self._bit_s

    @property
    def downlink_bps(self) -> float:
        """The downlink's bandwidth."""
        return self._ratio / self._bit_s

    @property
    def rtt_s(self) -> float:
        """The round trip of an empty request."""
        return self._rtt_s

    def take(self, exchange: Exchange) -> None:
        """Nothing, once the request has told what it can."""
        bits = exchange.up_bits + exchange.down_bits / self._ratio
        link_s = min(max(exchange.total_s - exchange.service_s, LEAST_RTT_S), LONGEST_S)
        rr, bb, rb = self._p
        rr, bb = rr + (DRIFT * self._rtt_s) ** 2, bb + (DRIFT * self._bit_s) ** 2
        noise = (NOISE * link_s) ** 2 + NOISE_S**2
        missed_s = link_s - self._rtt_s - bits * self._bit_s
        spread = rr + 2 * bits * rb + bits**2 * bb + noise
        if missed_s**2 > SURPRISE**2 * spread:  # the link is another one now: what was believed counts for little
            rr, bb, rb = rr + self._rtt_s**2, bb + (missed_s / bits) ** 2 if bits else bb, 0.0
            spread = rr + bits**2 * bb + noise
        gain_r, gain_b = (rr + bits * rb) / spread, (rb + bits * bb) / spread
        self._rtt_s = min(max(self._rtt_s + gain_r * missed_s, LEAST_RTT_S), LONGEST_S)
        self._bit_s = self._bounded(self._bit_s + gain_b * missed_s, link_s, bits)
        self._p = (
            (1 - gain_r) * rr - gain_r * bits * rb,
            (1 - gain_b * bits) * bb - gain_b * rb,
            (1 - gain_r) * rb - gain_r * bits * bb,
        )

    def _bounded(self, bit_s: float, link_s: float, bits: float) -> float:
        """Seconds per bit, kept positive: where the step went below nothing, as if all the time were the bits'."""
        if bit_s <= 0:
            bit_s = min(self._bit_s, link_s / bits) if bits else self._bit_s
        return min(max(bit_s, 1.0 / MOST_BPS), 1.0 / LEAST_BPS)

    def hope(self, factor: float) -> None:
        """Nothing; nothing can be measured now, so the link is believed to be this much faster, to be tried again."""
        self._bit_s = min(max(self._bit_s / factor, 1.0 / MOST_BPS), 1.0 / LEAST_BPS)
        self._p = (self._p[0], max(self._p[1], self._bit_s**2), 0.0)

    def lost(self, up_bits: float, waited_s: float) -> None:
        """Nothing; a request of so many bits had no answer after so long: the link is at most that fast."""
        at_most = up_bits / max(waited_s - self._rtt_s, 1e-3)
        if LEAST_BPS < at_most < self.uplink_bps:
            self._bit_s = 1.0 / at_most
            self._p = (self._p[0], self._bit_s**2, 0.0)


class Factor:
    """How many times longer something takes than was measured for the table: a smoothed ratio, 1.0 to begin with.

    The first measurement is believed, the second half, until the n-th counts no more than ``weight``.
    """

    def __init__(self, weight: float = 0.2, bounds: Tuple[float, float] = (0.02, 1000.0)) -> None:
        self.value = 1.0
        self._weight = weight
        self._bounds = bounds
        self._taken = 0

    def take(self, measured_s: float, predicted_s: float) -> None:
        """Nothing, once the ratio is smoothed in (over its logarithm: 2 and 1/2 are as far)."""
        if measured_s <= 0 or predicted_s <= 0:
            return
        low, high = self._bounds
        ratio = min(max(measured_s / predicted_s, low), high)
        self._taken += 1
        weight = max(self._weight, 1.0 / self._taken)
        self.value = self.value ** (1 - weight) * ratio**weight

    def at_least(self, ratio: float) -> None:
        """Nothing; it is known to be no less than this."""
        self.value = min(max(self.value, ratio), self._bounds[1])

    def faded(self, share: float) -> float:
        """The value when so much of it (1 all, 0 nothing: 1.0) is still believed, because it was long not measured."""
        return float(self.value**share)


class Smoothed:
    """A smoothed number, None before the first."""

    def __init__(self, weight: float = 0.2) -> None:
        self.value: Optional[float] = None
        self._weight = weight

    def take(self, value: float) -> None:
        """Nothing, once it is smoothed in."""
        self.value = value if self.value is None else (1 - self._weight) * self.value + self._weight * value
