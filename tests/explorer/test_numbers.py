"""Numbers with uncertainties, against how they are printed in papers."""

import math
import re

import numpy as np
import pytest

from explorer import numbers


@pytest.mark.parametrize(
    "value, error, expected",
    [
        (-50.858123, 0.0021, "−50.858(2)"),
        (1.5213e-4, 0.081e-4, "1.52(8)·10⁻⁴"),
        (-321.13954, 0.00014, "−321.13954(14)"),
        (12.345, 1.43, "12.3(1.4)"),
        (3.04438, 0.2, "3.0(2)"),
        # 0.097 rounds up to 0.10, which has two digits.
        (1.0, 0.0996, "1.00(10)"),
        (1.0, 0.00196, "1.000(2)"),
        (1234.0, 56.0, "1230(60)"),
        (1.5e-5, 2e-3, "0.000(2)"),
        (2e-5, 3e-4, "0(3)·10⁻⁴"),
        (6.02214e23, 3e18, "6.02214(3)·10²³"),
        (0.0, 0.01, "0.000(10)"),
        (1.0, 0.0, "1.00000(0)"),
        (2.5e-7, 0.0, "2.50000(0)·10⁻⁷"),
        (3.14159265, None, "3.14159"),
        (3.14159265, math.nan, "3.14159"),
        (math.nan, 0.1, "–"),
        (None, 0.1, "–"),
        (-math.inf, 0.1, "−∞"),
    ],
)
def test_a_value_is_printed_with_its_error_in_parentheses(value, error, expected):
    assert numbers.with_error(value, error) == expected


@pytest.mark.parametrize(
    "value, statistical, systematic, expected",
    [
        (3.2, 0.3, 0.1, "3.20(30)(10)"),
        (3.2, 0.3, 0.04, "3.20(30)(4)"),
        # The smaller is at most one place beyond the larger, and not nothing there.
        (3.2, 0.3, 0.0004, "3.20(30)(1)"),
        (-0.12, 0.003, 0.08, "−0.120(3)(80)"),
        (12.3, 1.4, 0.2, "12.3(1.4)(0.2)"),
        (12.3, 0.2, 1.4, "12.3(0.2)(1.4)"),
        (1.04, 0.02, 0.0, "1.04(2)(0)"),
        (1234.0, 56.0, 300.0, "1230(60)(300)"),
        (1.0, 0.1, math.nan, "1.00(10)"),
    ],
)
def test_a_value_has_a_statistical_and_a_systematic_error(value, statistical, systematic, expected):
    assert numbers.with_two_errors(value, statistical, systematic) == expected


def test_what_is_printed_is_within_a_quarter_of_the_error_of_what_was_measured():
    """Read back, 300 random numbers of all sizes lie within half a digit, their errors within 25 %."""
    generator = np.random.default_rng(3)
    for _ in range(300):
        value = generator.standard_normal() * 10.0 ** generator.integers(-9, 9)
        error = abs(value) * 10.0 ** generator.uniform(-6, 0.5)
        read, read_error = read_back(numbers.with_error(value, error))
        assert abs(read - value) <= 0.2501 * error
        assert read_error == pytest.approx(error, rel=0.2501)


def read_back(text: str) -> tuple[float, float]:
    """Value and error of a printed number, by the rule of the parentheses."""
    powers = {ord(sign): plain for sign, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)}
    text = text.replace("−", "-").translate(powers)
    value, error, power = re.fullmatch(r"(.*)\((.*)\)(?:·10(.*))?", text).groups()
    scale = 10.0 ** int(power or 0)
    decimals = len(value.partition(".")[2])
    unit = 1 if "." in error or decimals == 0 else 10.0**-decimals
    return float(value) * scale, float(error) * unit * scale


def test_an_interval_shares_one_power_of_ten_where_it_can():
    assert numbers.interval(2.04, 1.44, 3.11) == "2.0 [1.4, 3.1]"
    assert numbers.interval(1.1e-5, 1.04e-5, 5.8e-5) == "1.1 [1.0, 5.8]·10⁻⁵"
    assert numbers.interval(1.1e-5, 2.1e-6, 5.8e-5) == "1.1·10⁻⁵ [2.1·10⁻⁶, 5.8·10⁻⁵]"
    assert numbers.interval(30.7, None, None) == "31"
    assert numbers.interval(None, 1.0, 2.0) == "–"
