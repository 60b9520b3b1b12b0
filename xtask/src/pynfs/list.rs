//! The cases that are known not to pass, each with its reason.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

pub struct Expected(BTreeMap<String, String>);

impl Expected {
    /// Lines "code | all, 1 or 2 | reason"; a line without a reason is a fault.
    pub fn parse(text: &str, minor: u32) -> Result<Self> {
        let mut cases = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
            let [code, minors, reason] = fields[..] else {
                bail!("not `code | minor version | reason`: {line}");
            };
            ensure!(!reason.is_empty(), "no reason is given: {line}");
            let applies = match minors {
                "all" => true,
                "1" | "2" => minors == minor.to_string(),
                _ => bail!("`{minors}` is not all, 1 or 2: {line}"),
            };
            if applies {
                cases.insert(code.to_owned(), reason.to_owned());
            }
        }
        Ok(Self(cases))
    }

    pub fn reason(&self, code: &str) -> Option<&str> {
        self.0.get(code).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_cases_are_chosen_by_minor_version_and_need_a_reason() {
        let text = "# head\nEID4 | 2 | a | b\nBLOCK1 | all | block layouts\n";
        let of_2 = Expected::parse(text, 2).unwrap();
        assert_eq!(of_2.reason("EID4"), Some("a | b"));
        let of_1 = Expected::parse(text, 1).unwrap();
        assert_eq!(of_1.reason("EID4"), None);
        assert_eq!(of_1.reason("BLOCK1"), Some("block layouts"));
        for fault in ["EID4 | 2 |", "EID4 | 2", "EID4 | 3 | why"] {
            assert!(Expected::parse(fault, 2).is_err(), "{fault}");
        }
    }

    #[test]
    fn the_list_of_this_repository_can_be_read() {
        let text = include_str!("../../../interop-tests/expected/pynfs.txt");
        for minor in [1, 2] {
            assert!(Expected::parse(text, minor).is_ok());
        }
    }
}
