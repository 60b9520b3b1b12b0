//! A section of a configuration file as data: its keys, and one macro that makes of each section
//! its type, its reader, its comparison and its page of the reference.
//! Never here: which sections there are.

use crate::fault::Notes;
use crate::units::Bytes;
use crate::value::{Value, did_you_mean};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// What a key is when it isn't written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Default {
    /// It must be written.
    Required,
    /// This TOML.
    Toml(&'static str),
    /// Nothing; in words, what happens then.
    Unset(&'static str),
}

/// When a changed key is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// At SIGHUP.
    Reload,
    Restart,
}

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) default: Default,
    pub(crate) range: (u64, u64),
    pub(crate) change: Change,
    /// TOML.
    pub(crate) example: &'static str,
}

impl Key {
    pub(crate) const PLAIN: Self = Self {
        name: "",
        kind: "",
        meaning: "",
        default: Default::Required,
        range: (0, u64::MAX),
        change: Change::Restart,
        example: "",
    };

    pub(crate) fn range_in_words(&self, as_bytes: bool) -> String {
        let said = |value: u64| {
            if as_bytes {
                Bytes(value).to_string()
            } else {
                value.to_string()
            }
        };
        match self.range {
            (least, u64::MAX) => format!("{} or more", said(least)),
            (least, most) => format!("{} to {}", said(least), said(most)),
        }
    }
}

/// What a section is called and knows.
pub(crate) struct Schema {
    /// As in the file: `[server]`, `[[data_server]]`.
    pub(crate) header: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
    /// Of those that repeat: there may be none.
    pub(crate) any_number: bool,
}

impl Schema {
    /// `server` of `[server]`.
    pub(crate) fn name(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    pub(crate) fn repeats(&self) -> bool {
        self.header.starts_with("[[")
    }
}

/// One table of a file, read by its schema.
pub(crate) struct Section<'d> {
    pub(crate) schema: &'static Schema,
    /// None when the file doesn't have it, and every default holds.
    table: Option<&'d DeTable<'d>>,
    /// The header, or the beginning of the file.
    pub(crate) span: Range<usize>,
    /// The text has syntax faults: what is missing here may only have been unreadable.
    broken: bool,
}

impl<'d> Section<'d> {
    pub(crate) fn new(
        schema: &'static Schema,
        table: Option<&'d DeTable<'d>>,
        span: Range<usize>,
        broken: bool,
    ) -> Self {
        Self {
            schema,
            table,
            span,
            broken,
        }
    }

    /// Says which keys of the table the schema doesn't know.
    pub(crate) fn refuse_unknown_keys(&self, notes: &mut Notes) {
        for name in self.table.iter().flat_map(|table| table.keys()) {
            let known = self.schema.keys.iter().map(|key| key.name);
            if !known.clone().any(|key| key == name.get_ref().as_ref()) {
                let what = format!("unknown key `{}` in {}", name.get_ref(), self.schema.header);
                let hint = did_you_mean(name.get_ref(), known.clone()).unwrap_or_else(|| {
                    format!("known are {}", known.collect::<Vec<_>>().join(", "))
                });
                notes.add(name.span(), what, hint);
            }
        }
    }

    /// The value of a key, or its default; None when a note says why there is none.
    pub(crate) fn value<T: Value>(&self, key: &Key, notes: &mut Notes) -> Option<T> {
        if let Some(written) = self.table.and_then(|table| table.get(key.name)) {
            return T::read(written, key, notes);
        }
        match key.default {
            Default::Toml(text) => T::read(&DeValue::parse(text).ok()?, key, notes),
            Default::Unset(_) => T::absent(),
            Default::Required if self.broken => None,
            Default::Required => {
                notes.add(
                    self.span.clone(),
                    format!("{} has no `{}`", self.schema.header, key.name),
                    format!("expected a line like {} = {}", key.name, key.example),
                );
                None
            }
        }
    }

    /// The value of a key where it can be read, for rules that look at several at once.
    pub(crate) fn glance<T: Value>(&self, name: &str) -> Option<T> {
        let key = self.schema.keys.iter().find(|key| key.name == name)?;
        self.value(key, &mut Notes::default())
    }

    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// Where the key's value is written, or else the section.
    pub(crate) fn span_of(&self, name: &str) -> Range<usize> {
        self.table
            .and_then(|table| table.get(name))
            .map_or_else(|| self.span.clone(), toml::Spanned::span)
    }
}

/// A section's type with what belongs to it. The doc comments are the reference's text.
macro_rules! section {
    (
        $header:literal $($any_number:ident)?
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $meaning:literal])+
                $field:ident : $type:ty = { $($property:ident : $setting:expr),* $(,)? };
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $meaning])+ pub $field: $type,)+
        }

        impl $name {
            // A key may name every property of its own.
            #[allow(clippy::needless_update)]
            const KEYS: &'static [$crate::section::Key] = &[$($crate::section::Key {
                name: stringify!($field),
                kind: <$type as $crate::value::Value>::KIND,
                meaning: concat!($($meaning),+),
                $($property: $setting,)*
                ..$crate::section::Key::PLAIN
            },)+];

            pub(crate) const SCHEMA: &'static $crate::section::Schema = &$crate::section::Schema {
                header: $header,
                about: concat!($($about),+),
                keys: Self::KEYS,
                any_number: {
                    let words: &[&str] = &[$(stringify!($any_number))?];
                    !words.is_empty()
                },
            };

            pub(crate) fn read(
                section: &$crate::section::Section<'_>,
                notes: &mut $crate::fault::Notes,
            ) -> Option<Self> {
                section.refuse_unknown_keys(notes);
                let mut keys = Self::KEYS.iter();
                $(let $field = keys.next().and_then(|key| section.value::<$type>(key, notes));)+
                Some(Self { $($field: $field?,)+ })
            }

            /// The keys whose values differ.
            pub(crate) fn differing(&self, other: &Self) -> Vec<&'static $crate::section::Key> {
                let differs = [$(self.$field != other.$field,)+];
                Self::KEYS
                    .iter()
                    .zip(differs)
                    .filter_map(|(key, differs)| differs.then_some(key))
                    .collect()
            }

            /// Each key of which the texts written for documentation can't be read, with the reason.
            #[cfg(test)]
            pub(crate) fn unreadable_documentation() -> Vec<String> {
                let mut faults = Vec::new();
                let mut keys = Self::KEYS.iter();
                $(
                    if let Some(key) = keys.next() {
                        $crate::section::check_documentation::<$type>(key, &mut faults);
                    }
                )+
                faults
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
pub(crate) fn check_documentation<T: Value>(key: &Key, faults: &mut Vec<String>) {
    let texts = match key.default {
        Default::Toml(text) => vec![text, key.example],
        Default::Unset(_) => {
            if T::absent().is_none() {
                faults.push(format!("{} has no value when unset", key.name));
            }
            vec![key.example]
        }
        Default::Required => vec![key.example],
    };
    for text in texts {
        let mut notes = Notes::default();
        match DeValue::parse(text) {
            Ok(written) if T::read(&written, key, &mut notes).is_some() => {}
            _ => faults.push(format!("{} = {text}: {notes:?}", key.name)),
        }
    }
}
