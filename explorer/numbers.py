"""Numbers as physicists print them: −50.858(2), 1.52(8)·10⁻⁴, 2.0 [1.4, 3.1].

The digits in parentheses are the standard error in units of the last digit shown. It is rounded to one digit,
or to two where its first is a 1, so rounding changes it by a quarter at most.
"""

from __future__ import annotations

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS, NONE = "−", "–"
# Outside of these a power of ten is split off.
_SMALLEST, _LARGEST = 1e-3, 1e5
# What float64 can hold; an error beyond it, or none, leaves the value with as many digits as are asked for.
_DIGITS = 15


def with_error(value: float | None, error: float | None, digits: int = 6) -> str:
    """A value with its standard error in parentheses.

    Args:
        value: NaN or None gives a dash, an infinite one its sign and ∞.
        error: one standard error; None or NaN where there is none (the value stands alone), 0 where it is exact,
            which is said as (0).
        digits: significant digits of a value without an error, or with one of 0.
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}∞"
    if error is None or not math.isfinite(error):
        return plain(value, digits)
    error = abs(error)
    if error == 0:
        exponent = _power_of_ten(value)
        return f"{_trimmed(value / 10.0**exponent, digits)}(0){_power(exponent)}"
    return _in_parentheses(value, [error], _last_place(error))


def with_two_errors(value: float, statistical: float, systematic: float) -> str:
    """A value with its statistical and then its systematic error, 3.20(30)(4), both in units of the last digit.

    The smaller error is shown with its own first digit, but at most one place beyond the larger's: one that would
    be nothing there is 1. Where one is above 1 and has a point, 12.3(1.4)(0.2), both have.

    Args:
        value, statistical, systematic: finite; where the larger error is 0 or there is none, as `with_error`.
    """
    errors = [abs(statistical), abs(systematic)]
    if not math.isfinite(sum(errors)) or max(errors) == 0:
        return with_error(value, statistical)
    places = [_last_place(error) for error in errors if error]
    return _in_parentheses(value, errors, max(min(places), max(places) - 1))


def plain(value: float, digits: int = 3) -> str:
    """A value to so many significant digits, a power of ten split off where it is small or large."""
    if not math.isfinite(value):
        return with_error(value, None)
    exponent = _power_of_ten(value)
    return f"{_trimmed(value / 10.0**exponent, digits)}{_power(exponent)}"


def interval(estimate: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """An estimate and its interval, 2.0 [1.4, 3.1], all with the same power of ten."""
    if estimate is None or not math.isfinite(estimate):
        return NONE
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return plain(estimate, digits)
    exponents = [_power_of_ten(value) for value in (estimate, low, high)]
    ends = (estimate, low, high)
    if max(exponents) == min(exponents):
        scaled = [_trimmed(value / 10.0 ** exponents[0], digits) for value in ends]
        return f"{scaled[0]} [{scaled[1]}, {scaled[2]}]{_power(exponents[0])}"
    texts = [plain(value, digits) for value in ends]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def interval_alone(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval, [1.4, 3.1]·10⁻⁵, with the power of ten of its larger end; a dash where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    exponent = _power_of_ten(max(abs(low), abs(high)))
    # As many decimals for both, so that the ends are read as one scale.
    largest = max(abs(low), abs(high)) / 10.0**exponent
    places = max(digits - 1 - int(f"{largest:.{digits - 1}e}".split("e")[1]), 0) if largest else 0
    ends = [_signed(f"{end / 10.0**exponent:.{places}f}", end) for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]{_power(exponent)}"


def _in_parentheses(value: float, errors: list[float], place: int) -> str:
    # The largest of all decides on the power: 0.0001(20) is no number to read.
    exponent = _power_of_ten(max(abs(value), *errors))
    value, place = value / 10.0**exponent, place - exponent
    errors = [error / 10.0**exponent for error in errors]
    if place >= 0:
        step = 10**place
        rounded = round(value / step) * step
        shown = "".join(f"({round(error / step) * step})" for error in errors)
        return f"{_signed(f'{rounded:d}', rounded)}{shown}{_power(exponent)}"
    places = min(-place, _DIGITS)
    # No error is nothing that is not 0.
    errors = [max(error, 10.0**-places) if error else 0.0 for error in errors]
    # Above one errors keep their points: 12.3(1.4), below it they count in units of the last digit.
    in_digits = max(errors) < 1
    shown = [
        str(round(float(f"{error:.{places}f}") * 10**places)) if in_digits else f"{error:.{places}f}"
        for error in errors
    ]
    return f"{_signed(f'{value:.{places}f}', value)}({')('.join(shown)}){_power(exponent)}"


def _last_place(error: float) -> int:
    """The power of ten of the last digit shown: the error's first digit, or its second where the first is 1."""
    first, exponent = f"{error:.1e}".split("e")
    return int(exponent) - (1 if float(first) < 2 else 0)


def _power_of_ten(value: float) -> int:
    """The power to split off; 0 where the number is read easily without."""
    if value == 0 or _SMALLEST <= abs(value) < _LARGEST:
        return 0
    return int(f"{abs(value):.{_DIGITS}e}".split("e")[1])


def _power(exponent: int) -> str:
    return "" if exponent == 0 else f"·10{str(exponent).translate(SUPERSCRIPTS)}"


def _trimmed(value: float, digits: int) -> str:
    """So many significant digits, trailing zeros kept, since they were measured."""
    if value == 0:
        return "0"
    places = digits - 1 - int(f"{abs(value):.{digits - 1}e}".split("e")[1])
    return _signed(f"{round(value, places):.{max(places, 0)}f}", value)


def _signed(text: str, value: float) -> str:
    return text.replace("-", MINUS) if value < 0 else text
