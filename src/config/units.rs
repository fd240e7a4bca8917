//! Numbers with units as they stand in the file: `"30s"`, `"16MiB"`, `8`. The bounds are part of the type, so that `file`
//! shows them beside the key and a refusal states the very ones that were checked.

use std::{fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// Units of time and their milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size and their bytes, the longest name first since all end in `B`.
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// The longest duration: a year. Timers count in finite steps, and nobody waits longer on purpose.
const DAYS_MAX: u64 = 365;

/// A duration of at least `MIN_MS` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timespan<const MIN_MS: u64>(Duration);

/// A number of bytes from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size<const MIN: usize, const MAX: usize>(usize);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count<const MIN: usize, const MAX: usize>(usize);

impl<const MIN_MS: u64> Timespan<MIN_MS> {
    fn parse(text: &str) -> Option<Self> {
        let millis = parse_with_unit(text, &TIME_UNITS)?;
        let bounds = MIN_MS..=DAYS_MAX * 86_400_000;
        bounds.contains(&millis).then(|| Self(Duration::from_millis(millis)))
    }
}

impl<const MIN: usize, const MAX: usize> Size<MIN, MAX> {
    fn parse(text: &str) -> Option<Self> {
        let bytes = usize::try_from(parse_with_unit(text, &SIZE_UNITS)?).ok()?;
        (MIN..=MAX).contains(&bytes).then_some(Self(bytes))
    }
}

/// Reads digits directly followed by one unit. Of several units that fit the end of the text only the right one leaves
/// nothing but digits in front of it.
fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()?.checked_mul(*factor)).flatten()
    })
}

/// `amount` in the largest unit that leaves no remainder.
fn print_with_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |factor: u64| factor <= amount.max(1) && amount.is_multiple_of(factor);
    let largest = units.iter().filter(|(_, factor)| fits(*factor)).max_by_key(|(_, factor)| *factor);
    largest.map_or_else(|| amount.to_string(), |(unit, factor)| format!("{}{unit}", amount / factor))
}

impl<const MIN_MS: u64> From<Timespan<MIN_MS>> for Duration {
    fn from(time: Timespan<MIN_MS>) -> Self {
        time.0
    }
}

impl<const MIN: usize, const MAX: usize> From<Size<MIN, MAX>> for usize {
    fn from(size: Size<MIN, MAX>) -> Self {
        size.0
    }
}

impl<const MIN: usize, const MAX: usize> From<Count<MIN, MAX>> for usize {
    fn from(count: Count<MIN, MAX>) -> Self {
        count.0
    }
}

impl<const MIN: usize, const MAX: usize> From<Count<MIN, MAX>> for u64 {
    fn from(count: Count<MIN, MAX>) -> Self {
        count.0 as u64
    }
}

struct TimespanVisitor<const MIN_MS: u64>;

impl<const MIN_MS: u64> Visitor<'_> for TimespanVisitor<MIN_MS> {
    type Value = Timespan<MIN_MS>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = print_with_unit(MIN_MS, &TIME_UNITS);
        write!(f, "a duration from {least} to {DAYS_MAX}d: digits and one of ms, s, m, h, d, such as \"30s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Timespan::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct SizeVisitor<const MIN: usize, const MAX: usize>;

impl<const MIN: usize, const MAX: usize> Visitor<'_> for SizeVisitor<MIN, MAX> {
    type Value = Size<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = [MIN, MAX].map(|bytes| print_with_unit(bytes as u64, &SIZE_UNITS));
        write!(f, "a size from {least} to {most}: digits and one of B, KiB, MiB, GiB, such as \"64KiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Size::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct CountVisitor<const MIN: usize, const MAX: usize>;

impl<const MIN: usize, const MAX: usize> Visitor<'_> for CountVisitor<MIN, MAX> {
    type Value = Count<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let count = usize::try_from(number).ok().filter(|count| (MIN..=MAX).contains(count));
        count.map(Count).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

impl<'de, const MIN_MS: u64> Deserialize<'de> for Timespan<MIN_MS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimespanVisitor)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SizeVisitor)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(CountVisitor)
    }
}

impl<const MIN_MS: u64> JsonSchema for Timespan<MIN_MS> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timespan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Count<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u128> {
        Timespan::<0>::parse(text).map(|time| Duration::from(time).as_millis())
    }

    fn bytes(text: &str) -> Option<usize> {
        Size::<0, { 4 << 30 }>::parse(text).map(usize::from)
    }

    #[test]
    fn a_duration_is_digits_and_one_unit() {
        let read = ["250ms", "5s", "2m", "24h", "365d", "0s"].map(millis);
        let meant = [250, 5_000, 120_000, 86_400_000, 31_536_000_000, 0].map(Some);
        assert_eq!(read, meant);
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in
            ["", "5", "s", "5 s", " 5s", "1m30s", "1.5s", "-5s", "+5s", "5S", "5sec", "366d", "99999999999999999999d"]
        {
            assert_eq!(millis(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_keeps_its_lower_bound() {
        assert!(Timespan::<1>::parse("0s").is_none());
        assert!(Timespan::<1>::parse("1ms").is_some());
    }

    #[test]
    fn a_size_is_digits_and_one_unit() {
        assert_eq!(
            ["0B", "12B", "64KiB", "16MiB", "1GiB"].map(bytes),
            [0, 12, 65_536, 16_777_216, 1_073_741_824].map(Some)
        );
    }

    #[test]
    fn anything_else_is_no_size() {
        for text in ["", "64", "KiB", "64KB", "64kib", "64 KiB", "1.5MiB", "-1B", "5GiB", "18446744073709551615KiB"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn bounds_are_printed_in_their_largest_unit() {
        assert_eq!(print_with_unit(1, &TIME_UNITS), "1ms");
        assert_eq!((print_with_unit(0, &TIME_UNITS), print_with_unit(0, &SIZE_UNITS)), ("0ms".into(), "0B".into()));
        assert_eq!([8_192, 1 << 20, 1_500].map(|bytes| print_with_unit(bytes, &SIZE_UNITS)), ["8KiB", "1MiB", "1500B"]);
    }
}
