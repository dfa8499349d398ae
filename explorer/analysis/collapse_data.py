"""The points of a finite-size collapse, averaged and in units of order one, and what is seen in them at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from explorer.analysis.scaling_process import Observations

# A cluster must have this many points for its deviation along the control parameter to be told from noise.
POINTS_OF_A_CLUSTER = 3


@dataclass(frozen=True)
class Rows:
    """One row for each side, control parameter and cluster, of which r; errors are never missing."""

    side: np.ndarray  # (r,) integers
    control: np.ndarray  # (r,) x, or ln x on a log scale
    value: np.ndarray  # (r,)
    error: np.ndarray  # (r,) 0 where exact, or where none is known of any row
    cluster: np.ndarray  # (r,) integers from 0, each within one side
    measured: np.ndarray  # (r,) bool, whether the error was given

    def subset(self, chosen: np.ndarray) -> Rows:
        """The chosen rows alone."""
        return Rows(*(column[chosen] for column in vars(self).values()))

    def with_control(self, control: np.ndarray) -> Rows:
        """The same on another scale of the control parameter."""
        return replace(self, control=control)


class Units(NamedTuple):
    """What the fit's numbers are in: z = (x − centre) / half_width, A / value, L / L₀."""

    centre: float
    half_width: float  # of the window
    value: float
    size: float  # L₀, the geometric mean of L over the points


@dataclass(frozen=True)
class CollapseData:
    """Averages over the clusters at equal side and control parameter, of which n."""

    rows: Rows
    log_control: bool
    units: Units
    side: np.ndarray  # (n,)
    control: np.ndarray  # (n,) x, never its logarithm
    clusters_at: np.ndarray  # (n,) clusters averaged
    observations: Observations
    error: np.ndarray  # (n,) standard error with the scatter between clusters where there are several
    without_error: int

    @classmethod
    def of(
        cls, points: pl.DataFrame, value: str, control: str, error: str, log_control: bool
    ) -> CollapseData:
        """From a table; `collapse` says what its columns mean.

        Raises:
            ValueError: a column is missing, or x ≤ 0 on a log scale.
        """
        missing = [name for name in ("side", control, value) if name not in points.columns]
        if missing:
            raise ValueError(f"points have no column {missing[0]!r}; they have {', '.join(points.columns)}")
        rows = _rows(points, value, control, error)
        if log_control and (rows.control <= 0).any():
            raise ValueError(f"{control} is {rows.control.min():g} somewhere; a log scale needs it above 0")
        return cls.averaged(rows.with_control(np.log(rows.control)) if log_control else rows, log_control)

    @classmethod
    def averaged(cls, rows: Rows, log_control: bool) -> CollapseData:
        """From one row for each side, control parameter and cluster."""
        side, control, point = _points_of(rows)
        units = _units(side, control, rows.value)
        observations = _observe(rows, units, np.ones(len(rows.side)))
        return cls(
            rows,
            log_control,
            units,
            side,
            np.exp(control) if log_control else control,
            np.bincount(point),
            observations,
            np.sqrt(observations.variance + _variance_between(rows, side, point) / units.value**2),
            int((~rows.measured).sum()),
        )

    def drawn(self, times: np.ndarray) -> Observations:
        """What would have been observed with each cluster (c,) so many times, 0 for not at all, in our units."""
        weights = times[self.rows.cluster].astype(float)
        return _observe(self.rows.subset(weights > 0), self.units, weights[weights > 0])

    def keep(self, chosen: np.ndarray) -> CollapseData:
        """The chosen rows (r,) alone, averaged and scaled anew."""
        return CollapseData.averaged(self.rows.subset(chosen), self.log_control)

    def within(self, window: tuple[float, float] | None, smallest_side: int | None) -> CollapseData:
        """The rows in a window of x, both ends included, and of sides not below the smallest."""
        rows = self.rows
        chosen = np.ones(len(rows.side), bool)
        if window is not None:
            low, high = window
            if not low < high:
                raise ValueError(f"window is ({low}, {high}); its first number is to be below its second")
            x = np.exp(rows.control) if self.log_control else rows.control
            chosen &= (x >= low) & (x <= high)
        if smallest_side is not None:
            chosen &= rows.side >= smallest_side
        return self if chosen.all() else self.keep(chosen)

    def in_units(self, control: float) -> float:
        """The control parameter x at z, from the fit's units."""
        x = self.units.centre + self.units.half_width * float(control)
        return float(np.exp(x)) if self.log_control else x

    def from_units(self, x: float) -> float:
        """z of a control parameter x; the inverse of `in_units`."""
        return ((np.log(x) if self.log_control else x) - self.units.centre) / self.units.half_width

    def clusters_by_side(self) -> dict[int, int]:
        """How many clusters each side has, sides ascending."""
        sides = np.unique(self.rows.side)
        return {int(side): len(np.unique(self.rows.cluster[self.rows.side == side])) for side in sides}

    def scaled_points(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X, Y and the standard error of Y, (n,) each, in the fit's units."""
        scaled_control, scaled_value = self.observations.scaled(parameters)
        return scaled_control, scaled_value, self.error * np.exp(-parameters[2] * self.observations.log_size)

    def scales(self, parameters: np.ndarray) -> tuple[float, float]:
        """What X and Y of the fit are to be multiplied by to be (x − x_c) L^a and A L^−b."""
        _, a, b = parameters[:3]
        return self.units.half_width * self.units.size**a, self.units.value * self.units.size**-b

    def size_exponent(self, control: float) -> float:
        """Slope of ln |A| against ln L at z, between points; 0 where that has no meaning."""
        logs, values = [], []
        for side in np.unique(self.side):
            own = self.side == side
            z = self.observations.control[own]
            if z.min() <= control <= z.max():
                logs.append(self.observations.log_size[own][0])
                values.append(np.interp(control, z, self.observations.value[own]))
        if len(values) < 2 or len(set(np.sign(values))) != 1 or 0 in values:
            return 0.0
        return float(np.polyfit(logs, np.log(np.abs(values)), 1)[0])

    def overlap_of_neighbours(self) -> int:
        """Points whose control parameter lies within the range of another side."""
        inside = np.zeros(len(self.side), bool)
        for side in np.unique(self.side):
            own = self.side == side
            low, high = self.control[own].min(), self.control[own].max()
            inside |= ~own & (self.control >= low) & (self.control <= high)
        return int(inside.sum())


def _rows(points: pl.DataFrame, value: str, control: str, error: str) -> Rows:
    cluster = pl.col("cluster") if "cluster" in points.columns else pl.int_range(pl.len())
    measured = pl.col(error) if error in points.columns else pl.lit(None, pl.Float64)
    key = ("side", "control", "cluster")
    table = (
        points.select(
            side=pl.col("side").cast(pl.Int64),
            control=pl.col(control).cast(pl.Float64),
            value=pl.col(value).cast(pl.Float64),
            error=measured.cast(pl.Float64).abs(),
            cluster=cluster.rank("dense"),
        )
        .filter(pl.col("control").is_finite(), pl.col("value").is_finite())
        .with_columns(error=pl.when(pl.col("error").is_finite()).then("error"))
        .with_columns(measured=pl.col("error").is_not_null())
        .with_columns(error=pl.col("error").fill_null(pl.col("error").median().over("side")))
        .with_columns(error=pl.col("error").fill_null(pl.col("error").median()).fill_null(0.0))
        .group_by(key)
        .agg(
            pl.col("value").mean(),
            error=pl.col("error").pow(2).sum().sqrt() / pl.len(),
            measured=pl.col("measured").all(),
        )
        .sort(key)
        # Of one side each: a trajectory has one lattice, and two with one name are two.
        .with_columns(cluster=pl.struct("side", "cluster").rank("dense") - 1)
    )
    names = ("side", "control", "value", "error", "cluster", "measured")
    return Rows(*(table[name].to_numpy() for name in names))


def _points_of(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Side and control parameter of each point, sorted, and the point of each row."""
    keys = np.rec.fromarrays([rows.side, rows.control], names="side,control")
    points, point = np.unique(keys, return_inverse=True)
    return np.asarray(points.side), np.asarray(points.control), point


def _units(side: np.ndarray, control: np.ndarray, value: np.ndarray) -> Units:
    if len(side) == 0:
        return Units(0.0, 1.0, 1.0, 1.0)
    # Where all are equal any scale will do: `collapse` says why it does not fit them.
    half_width, spread = float(np.ptp(control)) / 2 or 1.0, float(np.std(value)) or 1.0
    centre = float(control.min() + control.max()) / 2
    return Units(centre, half_width, spread, float(np.exp(np.log(side).mean())))


def _observe(rows: Rows, units: Units, weights: np.ndarray) -> Observations:
    """Averages over clusters, each as often as its weight."""
    side, control, point = _points_of(rows)
    share = weights / np.bincount(point, weights)[point]
    return Observations(
        (control - units.centre) / units.half_width,
        np.bincount(point, share * rows.value) / units.value,
        np.bincount(point, (share * rows.error) ** 2) / units.value**2,
        np.log(side / units.size),
        _shared(rows.cluster, point, share),
    )


def _shared(cluster: np.ndarray, point: np.ndarray, share: np.ndarray) -> np.ndarray | None:
    """(n, n) Σ_c share_ic share_jc; None where hardly a cluster has several points."""
    if len(cluster) == 0 or np.median(np.bincount(cluster)[cluster]) < POINTS_OF_A_CLUSTER:
        return None
    shares = np.zeros((point.max() + 1, cluster.max() + 1))
    shares[point, cluster] = share
    return shares @ shares.T


def _variance_between(rows: Rows, side: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(n,) variance of the means from the scatter between clusters beyond the errors, 0 where there is one.

    By moments, pooled over the points of a side: at one point a few clusters say little.
    """
    count = np.bincount(point)
    several = count > 1
    mean = np.bincount(point, rows.value) / count
    squares = np.bincount(point, (rows.value - mean[point]) ** 2)
    measured = np.bincount(point, rows.error**2) / count
    of_point = np.where(several, squares / np.maximum(count - 1, 1) - measured, 0.0)
    variance = np.zeros(len(count))
    for one in np.unique(side[several]):
        own = several & (side == one)
        variance[own] = max(of_point[own].mean(), 0.0) / count[own]
    return variance
