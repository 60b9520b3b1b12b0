//! What testserver.py prints at its end: a line for each case, and the counts.

use anyhow::{Context, Result, ensure};

pub struct Case {
    pub code: String,
    /// "failed", "skipped", …
    pub outcome: &'static str,
    pub message: String,
}

#[derive(Default)]
pub struct Results {
    pub passed: Vec<String>,
    pub not_passed: Vec<Case>,
}

impl Results {
    pub fn parse(output: &str) -> Result<Self> {
        let mut results = Self::default();
        let mut told = false;
        let mut in_case = false;
        for line in output.lines() {
            if line.starts_with("*****") {
                // Between the two lines of stars stand the cases.
                told = !told;
                in_case = false;
                continue;
            }
            if !told {
                continue;
            }
            if let Some((code, outcome)) = case(line) {
                in_case = outcome != "passed";
                if in_case {
                    results.not_passed.push(Case {
                        code: code.to_owned(),
                        outcome,
                        message: String::new(),
                    });
                } else {
                    results.passed.push(code.to_owned());
                }
            } else if in_case && let Some(case) = results.not_passed.last_mut() {
                if !case.message.is_empty() {
                    case.message.push(' ');
                }
                case.message.push_str(line.trim());
            }
        }
        results.agrees_with(output)?;
        Ok(results)
    }

    /// The suite's own counts, so that a case that was overlooked here doesn't count as passed.
    fn agrees_with(&self, output: &str) -> Result<()> {
        let counts = output
            .lines()
            .find_map(|line| line.strip_prefix("Of those: "))
            .context("pynfs gave no counts: it ended early")?;
        let count = |what: &str| -> Result<usize> {
            let of = counts.split(", ").find_map(|part| part.strip_suffix(what));
            Ok(of
                .with_context(|| format!("no{what} in `{counts}`"))?
                .parse()?)
        };
        let not_passed = count(" Skipped")? + count(" Failed")? + count(" Warned")?;
        ensure!(
            count(" Passed")? == self.passed.len() && not_passed == self.not_passed.len(),
            "pynfs counts `{counts}`, its lines say {} passed and {} not",
            self.passed.len(),
            self.not_passed.len()
        );
        Ok(())
    }
}

/// "CODE     module.test    : OUTCOME".
fn case(line: &str) -> Option<(&str, &'static str)> {
    let (head, outcome) = line.rsplit_once(" : ")?;
    let outcome = match outcome.trim() {
        "PASS" => "passed",
        "FAILURE" => "failed",
        "WARNING" => "warned",
        "UNSUPPORTED" => "unsupported",
        "OMIT" => "skipped",
        "WAITING TO RUN" => "not run",
        _ => return None,
    };
    let mut words = head.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(code), Some(test), None) if !line.starts_with(' ') && test.contains('.') => {
            Some((code, outcome))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "INFO   :test.env:Created client to 127.0.0.1, 2049
**************************************************
EID4     st_exchange_id.testBadFlags                              : FAILURE
           Using undefined flag bit 0x4 should return
           NFS4ERR_INVAL, instead got NFS4_OK
EID1     st_exchange_id.testSupported                             : PASS
FFLG2    st_flex.testFlexLayoutStress                             : OMIT
           Dependency function had status : FAILURE.
**************************************************
Command line asked for 3 of 264 tests
Of those: 1 Skipped, 1 Failed, 0 Warned, 1 Passed
";

    #[test]
    fn each_case_is_told_with_its_outcome_and_its_message() {
        let results = Results::parse(OUTPUT).unwrap();
        assert_eq!(results.passed, ["EID1"]);
        let [failed, skipped] = &results.not_passed[..] else {
            panic!("two did not pass");
        };
        assert_eq!((failed.code.as_str(), failed.outcome), ("EID4", "failed"));
        assert_eq!(
            failed.message,
            "Using undefined flag bit 0x4 should return NFS4ERR_INVAL, instead got NFS4_OK"
        );
        assert_eq!(
            (skipped.code.as_str(), skipped.outcome),
            ("FFLG2", "skipped")
        );
    }

    #[test]
    fn a_suite_that_ended_early_or_counts_otherwise_is_no_result() {
        assert!(Results::parse("Traceback (most recent call last):\n").is_err());
        assert!(Results::parse(&OUTPUT.replace("1 Passed", "2 Passed")).is_err());
    }
}
