//! A file as a whole: read from the disk, parsed with every syntax fault, its sections handed out.
//! Never here: what a section means.

use crate::fault::{Fault, Faults, Notes, line_of};
use crate::section::{Schema, Section};
use crate::value::did_you_mean;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration that is larger is a mistake: another file, or a device.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

pub(crate) fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<T, Faults>,
) -> Result<T, Faults> {
    let file = path.display().to_string();
    let text = read_text(path).map_err(|(what, hint)| {
        Faults(vec![Fault {
            file: file.clone(),
            place: None,
            what,
            hint,
        }])
    })?;
    parse(&file, &text)
}

fn read_text(path: &Path) -> Result<String, (String, String)> {
    let cannot = |error: std::io::Error| ("can't be read".to_owned(), error.to_string());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Err((
            "is larger than 1MiB".to_owned(),
            "expected a configuration file".to_owned(),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let line = line_of(&before, before.len());
        (
            format!("isn't text in UTF-8 on line {line}"),
            "expected a TOML file".to_owned(),
        )
    })
}

/// A parsed file.
pub(crate) struct Document<'t> {
    pub(crate) text: &'t str,
    root: Spanned<DeTable<'t>>,
    /// Lines with a syntax fault: what was read from them means nothing.
    broken_lines: Vec<usize>,
}

impl<'t> Document<'t> {
    /// Reads a text by `build`, which notes all that it finds wrong.
    pub(crate) fn read<T>(
        file: &str,
        text: &'t str,
        build: impl FnOnce(&Document<'t>, &mut Notes) -> Option<T>,
    ) -> Result<T, Faults> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut syntax = Notes::default();
        let mut broken_lines = Vec::new();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let lines = [line_of(text, span.start), line_of(text, span.end)];
            // What follows the first slip on a line is mostly its echo.
            if !broken_lines.contains(&lines[0]) {
                let (what, hint) = error
                    .message()
                    .split_once(", ")
                    .unwrap_or((error.message(), ""));
                let hint = if hint == "expected nothing" { "" } else { hint };
                syntax.add(span, what, hint);
            }
            broken_lines.extend(lines);
        }
        let document = Document {
            text,
            root,
            broken_lines,
        };
        let mut notes = Notes::default();
        let built = build(&document, &mut notes);
        // A value that the parser made up in the place of an unreadable one has an empty span.
        notes.0.retain(|note| {
            !document.is_broken()
                || !note.span.is_empty()
                    && !document
                        .broken_lines
                        .contains(&line_of(text, note.span.start))
        });
        notes.0.append(&mut syntax.0);
        match built {
            Some(built) if notes.0.is_empty() => Ok(built),
            _ => {
                let mut faults = notes.located(file, text);
                if faults.is_empty() {
                    faults.push(Fault {
                        file: file.to_owned(),
                        place: None,
                        what: "isn't a configuration".to_owned(),
                        hint: String::new(),
                    });
                }
                Err(Faults(faults))
            }
        }
    }

    /// Whether the text has syntax faults, so that what is missing may only have been unreadable.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    fn section<'d>(
        &self,
        schema: &'static Schema,
        table: Option<&'d DeTable<'d>>,
        span: Range<usize>,
    ) -> Section<'d> {
        Section::new(schema, table, span, self.is_broken())
    }

    pub(crate) fn has(&self, schema: &Schema) -> bool {
        self.root.get_ref().contains_key(schema.name())
    }

    /// Says which sections the file has that don't belong into it.
    pub(crate) fn refuse_other_sections(&self, known: &[&Schema], notes: &mut Notes) {
        for (name, value) in self.root.get_ref() {
            let said = name.get_ref().as_ref();
            if known.iter().any(|schema| schema.name() == said) {
                continue;
            }
            let headers = || known.iter().map(|schema| schema.header);
            let is_section = value.get_ref().is_table() || value.get_ref().is_array();
            if !is_section
                && let Some(schema) = known
                    .iter()
                    .find(|schema| schema.keys.iter().any(|key| key.name == said))
            {
                notes.add(
                    name.span(),
                    format!("`{said}` stands outside of any section"),
                    format!("it belongs under {}", schema.header),
                );
                continue;
            }
            let hint =
                did_you_mean(said, known.iter().map(|schema| schema.name())).unwrap_or_else(|| {
                    format!("known are {}", headers().collect::<Vec<_>>().join(", "))
                });
            let what = if is_section {
                format!("unknown section [{said}]")
            } else {
                format!("unknown key `{said}` outside of any section")
            };
            notes.add(name.span(), what, hint);
        }
    }

    /// The section that is there once, or not at all.
    pub(crate) fn one(&self, schema: &'static Schema, notes: &mut Notes) -> Section<'_> {
        let Some((name, value)) = self.root.get_ref().get_key_value(schema.name()) else {
            return self.section(schema, None, 0..0);
        };
        if let DeValue::Table(table) = value.get_ref() {
            return self.section(schema, Some(table), value.span());
        }
        notes.add(
            name.span(),
            format!("`{}` isn't a section", schema.name()),
            format!("expected one {}", schema.header),
        );
        self.section(schema, None, name.span())
    }

    /// The sections of which there must be one at least, unless the schema takes any number.
    pub(crate) fn several(&self, schema: &'static Schema, notes: &mut Notes) -> Vec<Section<'_>> {
        let expected = format!("expected {} for each", schema.header);
        let Some((name, value)) = self.root.get_ref().get_key_value(schema.name()) else {
            if !self.is_broken() && !schema.any_number {
                let what = format!("there is no {}", schema.header);
                notes.add(0..0, what, "expected at least one");
            }
            return Vec::new();
        };
        let mut sections = Vec::new();
        let mut strangers: Vec<Range<usize>> = Vec::new();
        match value.get_ref() {
            DeValue::Array(elements) if !elements.is_empty() => {
                for element in elements {
                    match element.get_ref() {
                        DeValue::Table(table) => {
                            sections.push(self.section(schema, Some(table), element.span()));
                        }
                        _ => strangers.push(element.span()),
                    }
                }
            }
            DeValue::Table(_) => strangers.push(value.span()),
            _ => strangers.push(name.span()),
        }
        for span in strangers {
            notes.add(
                span,
                format!("`{}` isn't a list of sections", schema.name()),
                &expected,
            );
        }
        sections
    }
}
