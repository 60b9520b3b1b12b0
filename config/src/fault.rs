//! What is wrong with a configuration, said so that a person can mend it: place, cause, way out.
//! Never here: what any key means.

use std::fmt;
use std::ops::Range;

/// How many characters of the faulty line are shown; a longer one is cut around the fault.
const SHOWN_CHARACTERS: usize = 100;

/// Where in the file a fault is, and the text that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line, or the part of it around the fault, free of indentation and control characters.
    pub text: String,
    /// Characters of `text` before the caret.
    pub caret_at: usize,
    /// Length of the underlining, at least 1.
    pub caret_characters: usize,
}

/// One fault. Its `Display` is the text that a person reads, over up to three lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// None when the file as a whole is meant: it can't be read, say.
    pub place: Option<Place>,
    /// What is wrong.
    pub what: String,
    /// What was expected, or the way out. May be empty.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            write!(f, "{}: {}", self.file, self.what)?;
            if !self.hint.is_empty() {
                write!(f, ": {}", self.hint)?;
            }
            return Ok(());
        };
        writeln!(
            f,
            "{}:{}:{}: {}",
            self.file, place.line, place.column, self.what
        )?;
        writeln!(f, "{:>5} | {}", place.line, place.text)?;
        let underlining = format!(
            "{:>5} | {:indent$}{}",
            "",
            "",
            "^".repeat(place.caret_characters),
            indent = place.caret_at
        );
        f.write_str(&underlining)?;
        if !self.hint.is_empty() {
            write!(f, " {}", self.hint)?;
        }
        Ok(())
    }
}

/// Every fault of one file, in the order of their places; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// A fault by its bytes in the text, before it has a line and a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) span: Range<usize>,
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<Note>);

impl Notes {
    pub(crate) fn add(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Note {
            span,
            what: what.into(),
            hint: hint.into(),
        });
    }

    /// Gives each note its line and column in `text`, and sorts them as a reader meets them.
    pub(crate) fn located(mut self, file: &str, text: &str) -> Vec<Fault> {
        self.0.sort_by_key(|note| (note.span.start, note.span.end));
        self.0.dedup();
        self.0
            .into_iter()
            .map(|note| Fault {
                file: file.to_owned(),
                place: Some(place_of(text, &note.span)),
                what: visible(&note.what),
                hint: visible(&note.hint),
            })
            .collect()
    }
}

/// The same text without anything that a terminal would obey.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Number of the line, from 1, in which byte `offset` lies.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let end = floor_char_boundary(text, offset);
    1 + text[..end].matches('\n').count()
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

fn place_of(text: &str, span: &Range<usize>) -> Place {
    let start = floor_char_boundary(text, span.start);
    let end = floor_char_boundary(text, span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..]
        .find('\n')
        .map_or(text.len(), |newline| start + newline);
    let line: Vec<char> = visible(text[line_start..line_end].trim_end_matches('\r'))
        .chars()
        .collect();

    let before = text[line_start..start].chars().count();
    let marked = text[start..end.min(line_end).max(start)]
        .trim_end()
        .chars()
        .count();
    let indentation = line.iter().take(before).take_while(|c| **c == ' ').count();
    let cut = before
        .saturating_sub(SHOWN_CHARACTERS / 2)
        .max(indentation)
        .min(before);
    let shown: String = line.iter().skip(cut).take(SHOWN_CHARACTERS).collect();
    let caret_at = before - cut;
    Place {
        line: line_of(text, start),
        column: before + 1,
        text: shown.trim_end().to_owned(),
        caret_at,
        caret_characters: marked.min(SHOWN_CHARACTERS.saturating_sub(caret_at)).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, marked: &str, what: &str, hint: &str) -> String {
        let start = text.find(marked).expect("the text holds what is marked");
        let mut notes = Notes::default();
        notes.add(start..start + marked.len(), what, hint);
        notes.located("config.toml", text)[0].to_string()
    }

    #[test]
    fn a_fault_shows_its_line_with_a_caret_under_the_text() {
        assert_eq!(
            drawn(
                "[server]\n        wieght = 3\n",
                "wieght",
                "unknown key `wieght` in [[data_server]]",
                "did you mean `weight`?"
            ),
            "config.toml:2:9: unknown key `wieght` in [[data_server]]\n    \
             2 | wieght = 3\n      | ^^^^^^ did you mean `weight`?"
        );
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let drawn = drawn("é = 1 # x", "# x", "what", "");
        assert!(drawn.starts_with("config.toml:1:7: what\n"), "{drawn}");
        assert!(drawn.ends_with("\n      |       ^^^"), "{drawn}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        let drawn = drawn("a = \"\x1b[2J\"", "a", "what", "");
        assert!(!drawn.contains('\x1b'), "{drawn}");
    }

    #[test]
    fn a_long_line_is_cut_around_its_fault() {
        let text = format!("a = \"{}\" BAD {}", "x".repeat(5000), "y".repeat(5000));
        let drawn = drawn(&text, "BAD", "what", "hint");
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[1].len() <= SHOWN_CHARACTERS + 8, "{}", lines[1]);
        let caret = lines[2].find('^').expect("there is a caret");
        assert_eq!(&lines[1][caret..caret + 3], "BAD");
    }

    #[test]
    fn a_fault_at_the_end_of_an_empty_file_has_a_caret() {
        let mut notes = Notes::default();
        notes.add(0..0, "what", "hint");
        assert_eq!(
            notes.located("f", "")[0].to_string(),
            "f:1:1: what\n    1 | \n      | ^ hint"
        );
    }
}
