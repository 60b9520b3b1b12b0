//! Quantities that a person writes with a unit: sizes and times.
//! Never here: where in the file they stand.

use std::fmt;
use std::time::Duration;

/// A number of bytes, written `4096`, `"64MiB"` or `"1TB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// Reads `64MiB`, `64 MiB`, `1TB`, `512`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        if number.is_empty() {
            return Err("expected a whole number and a unit, such as \"64MiB\"".to_owned());
        }
        if unit.starts_with('.') {
            return Err("expected a whole number: take a smaller unit".to_owned());
        }
        let factor = if unit.is_empty() {
            1
        } else if let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) {
            *factor
        } else {
            return Err(unit_hint(unit));
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "that is more than 64 bits can count".to_owned())
    }
}

fn unit_hint(unit: &str) -> String {
    let close: Vec<&str> = UNITS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| {
            name.eq_ignore_ascii_case(unit)
                || (unit.len() == 1 && name.len() > 1 && name[..1].eq_ignore_ascii_case(unit))
        })
        .collect();
    match close.as_slice() {
        [] => "expected a unit: B, kB, MB, GB, TB, PB or KiB, MiB, GiB, TiB, PiB".to_owned(),
        [one] => format!("did you mean `{one}`?"),
        several => format!("did you mean `{}`?", several.join("` or `")),
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((_, 1)) | None => write!(f, "{}", self.0),
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
        }
    }
}

/// A number of whole seconds, written `90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(pub u64);

impl Seconds {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("4KiB", 4096),
            ("64 MiB", 64 << 20),
            ("1kB", 1000),
            ("1TB", 1_000_000_000_000),
            ("3PiB", 3 << 50),
        ] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn a_unit_that_could_mean_two_sizes_is_asked_about() {
        assert_eq!(
            Bytes::parse("64M"),
            Err("did you mean `MiB` or `MB`?".to_owned())
        );
        assert_eq!(Bytes::parse("64mib"), Err("did you mean `MiB`?".to_owned()));
    }

    #[test]
    fn a_size_beyond_64_bits_a_fraction_and_no_number_are_refused() {
        for text in [
            "99999999999999999999",
            "20000PiB",
            "1.5GiB",
            "-1",
            "MiB",
            "",
        ] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back_as_itself(bytes: u64) {
            prop_assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }

        #[test]
        fn no_text_makes_the_size_reader_panic(text: String) {
            let _ = Bytes::parse(&text);
        }
    }
}
