//! Quantities as Kubernetes writes them (apimachinery `pkg/api/resource/quantity.go`, v1.36).

/// A quantity in thousandths, rounded up, as `Quantity.MilliValue`. `None` for what is no quantity.
pub(crate) fn milli(text: &str) -> Option<i64> {
    scaled(text, 3)
}

/// A quantity in whole units, rounded up, as `Quantity.Value`. `None` for what is no quantity.
pub(crate) fn value(text: &str) -> Option<i64> {
    scaled(text, 0)
}

/// The number times ten to the power of `places`, rounded up (away from zero); more than fits is the largest number.
fn scaled(text: &str, places: i32) -> Option<i64> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (binary, decimal) = factor(suffix)?;
    // More digits than these cannot be told apart in 64 bits; those that are left out only ever round up.
    let kept = fraction.len().min(15);
    let mut digits: i128 = 0;
    for digit in whole.bytes().chain(fraction[..kept].bytes()) {
        digits = digits
            .checked_mul(10)?
            .checked_add(i128::from(digit - b'0'))?;
    }
    let rest = fraction[kept..].bytes().any(|digit| digit != b'0');
    let exponent = decimal + places - i32::try_from(kept).ok()?;
    let number = digits.checked_mul(i128::from(binary))?;
    let number = if exponent >= 0 {
        number.saturating_mul(10_i128.saturating_pow(exponent.unsigned_abs().min(38)))
    } else {
        let divisor = 10_i128.saturating_pow(exponent.unsigned_abs().min(38));
        number / divisor + i128::from(number % divisor != 0)
    };
    let number = number.saturating_add(i128::from(rest && exponent >= 0));
    Some(i64::try_from(sign * number).unwrap_or(if sign > 0 { i64::MAX } else { i64::MIN }))
}

/// What a suffix stands for: a factor, and a power of ten.
fn factor(suffix: &str) -> Option<(i64, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => (1, other.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, whole: Option<i64>, thousandths: Option<i64>) {
        assert_eq!((value(text), milli(text)), (whole, thousandths), "{text}");
    }

    #[test]
    fn quantities() {
        check("3800m", Some(4), Some(3800));
        check("2", Some(2), Some(2000));
        check("0.1", Some(1), Some(100));
        check("1.5Gi", Some(1_610_612_736), Some(1_610_612_736_000));
        check("129e6", Some(129_000_000), Some(129_000_000_000));
        check("123456789n", Some(1), Some(124));
        check("1E", Some(1_000_000_000_000_000_000), Some(i64::MAX));
        check("16Ei", Some(i64::MAX), Some(i64::MAX));
        check("-1500m", Some(-2), Some(-1500));
        check(".5", Some(1), Some(500));
        check("", None, None);
        check("Mi", None, None);
        check("1.2.3", None, None);
        check("12Qi", None, None);
    }
}
