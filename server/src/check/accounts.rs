//! Accounts of this machine whose ids data objects are to be owned by: such a user could read and
//! write data objects. Never here: directories of accounts elsewhere.

use config::IdRange;
use std::path::Path;

/// Names of this machine's users and groups whose ids lie in the range.
pub fn accounts_inside(ids: IdRange) -> Vec<String> {
    [("/etc/passwd", "user"), ("/etc/group", "group")]
        .into_iter()
        .flat_map(
            |(file, kind)| match std::fs::read_to_string(Path::new(file)) {
                Ok(text) => accounts_of(&text, kind, ids),
                Err(_) => Vec::new(),
            },
        )
        .collect()
}

/// Both files begin each line with name, password, id.
fn accounts_of(text: &str, kind: &str, ids: IdRange) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id: u32 = fields.nth(1)?.parse().ok()?;
            ids.contains(id).then(|| format!("{kind} {name} ({id})"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_inside_the_range_is_named_and_odd_lines_are_passed_over() {
        let text = "root:x:0:0:root:/root:/bin/sh\n\
                    alice:x:500001:100::/home/alice:/bin/sh\n\
                    +nis\n\
                    odd:x:many:1::\n";
        let ids = IdRange::new(500_000, 1000).expect("a range");
        assert_eq!(accounts_of(text, "user", ids), ["user alice (500001)"]);
    }
}
