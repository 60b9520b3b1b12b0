//! How each type of value is read from TOML, and what is said when it can't be.
//! Never here: keys, sections, or rules between two values.

use crate::address::{Cidr, ExportPath, HostPort, IdRange, Name};
use crate::fault::Notes;
use crate::section::Key;
use crate::units::{Bytes, Seconds};
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

/// A value as it stands in the file.
pub(crate) type Written<'t> = Spanned<DeValue<'t>>;

/// A type that a key can have.
pub(crate) trait Value: Sized {
    /// What a person is told to write, and what the reference says.
    const KIND: &'static str;

    /// None when it can't be read; then the reason is in `notes`.
    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self>;

    /// What a key without a default is when it isn't written. None: it must be written.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        T::read(written, key, notes).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Types of which several may be given; one alone needs no brackets.
pub(crate) trait Element: Value {
    const LIST_KIND: &'static str;
}

impl<T: Element + PartialEq> Value for Vec<T> {
    const KIND: &'static str = T::LIST_KIND;

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        let Some(elements) = written.get_ref().as_array() else {
            return T::read(written, key, notes).map(|one| vec![one]);
        };
        if elements.is_empty() {
            notes.add(
                written.span(),
                format!("`{}` is empty", key.name),
                format!("expected at least one {}", T::KIND),
            );
            return None;
        }
        let mut values = Vec::with_capacity(elements.len());
        let mut all_good = true;
        for element in elements {
            match T::read(element, key, notes) {
                Some(value) if values.contains(&value) => {
                    notes.add(
                        element.span(),
                        format!("`{}` names this twice", key.name),
                        "leave one of them out",
                    );
                    all_good = false;
                }
                Some(value) => values.push(value),
                None => all_good = false,
            }
        }
        all_good.then_some(values)
    }
}

fn wrong_type(written: &Written<'_>, key: &Key, expected: &str, notes: &mut Notes) {
    notes.add(
        written.span(),
        format!(
            "`{}` is {}",
            key.name,
            with_article(written.get_ref().type_str())
        ),
        format!("expected {expected}"),
    );
}

fn with_article(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {type_name}")
}

/// Reads a value that is written as a string.
pub(crate) fn from_text<T>(
    written: &Written<'_>,
    key: &Key,
    expected: &str,
    notes: &mut Notes,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Some(text) = written.get_ref().as_str() else {
        wrong_type(written, key, expected, notes);
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(hint) => {
            let what = format!("`{}` can't be \"{text}\"", key.name);
            notes.add(written.span(), what, hint);
            None
        }
    }
}

fn number(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn in_range(written: &Written<'_>, key: &Key, value: u64, notes: &mut Notes) -> Option<u64> {
    let (least, most) = key.range;
    if (least..=most).contains(&value) {
        return Some(value);
    }
    notes.add(
        written.span(),
        format!("`{}` can't be {value}", key.name),
        format!("expected {}", key.range_in_words(Bytes::KIND == key.kind)),
    );
    None
}

fn whole_number(
    written: &Written<'_>,
    key: &Key,
    expected: &str,
    notes: &mut Notes,
) -> Option<u64> {
    let Some(integer) = written.get_ref().as_integer() else {
        wrong_type(written, key, expected, notes);
        return None;
    };
    let Some(value) = number(integer) else {
        notes.add(
            written.span(),
            format!("`{}` can't be {integer}", key.name),
            format!("expected {}", key.range_in_words(false)),
        );
        return None;
    };
    in_range(written, key, value, notes)
}

impl Value for u64 {
    const KIND: &'static str = "number";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        whole_number(written, key, "a whole number", notes)
    }
}

impl Value for u32 {
    const KIND: &'static str = "number";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        narrowed(
            whole_number(written, key, "a whole number", notes)?,
            written,
            key,
            notes,
        )
    }
}

impl Value for u16 {
    const KIND: &'static str = "number";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        narrowed(
            whole_number(written, key, "a whole number", notes)?,
            written,
            key,
            notes,
        )
    }
}

fn narrowed<T: TryFrom<u64>>(
    value: u64,
    written: &Written<'_>,
    key: &Key,
    notes: &mut Notes,
) -> Option<T> {
    let narrow = T::try_from(value).ok();
    if narrow.is_none() {
        notes.add(
            written.span(),
            format!("`{}` can't be {value}", key.name),
            "expected a smaller number",
        );
    }
    narrow
}

impl Value for Seconds {
    const KIND: &'static str = "seconds";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        whole_number(written, key, "a whole number of seconds", notes).map(Self)
    }
}

impl Value for Bytes {
    const KIND: &'static str = "size";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        const EXPECTED: &str = "a size such as \"64MiB\"";
        let bytes = match written.get_ref() {
            DeValue::Integer(_) => return whole_number(written, key, EXPECTED, notes).map(Self),
            _ => from_text(written, key, EXPECTED, notes, Bytes::parse)?,
        };
        in_range(written, key, bytes.0, notes).map(Self)
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "IP address and port";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        const EXPECTED: &str =
            "an IP address and a port, such as \"0.0.0.0:2049\" or \"[::]:2049\"";
        from_text(written, key, EXPECTED, notes, |text| {
            match text.parse::<SocketAddr>() {
                // A port of the kernel's choice would differ at each start, and clients
                // couldn't find the server again.
                Ok(address) if address.port() == 0 => {
                    Err("expected a port from 1 to 65535".to_owned())
                }
                Ok(address) => Ok(address),
                Err(_) => Err(format!("expected {EXPECTED}")),
            }
        })
    }
}

impl Element for SocketAddr {
    const LIST_KIND: &'static str = "IP addresses and ports";
}

impl Value for HostPort {
    const KIND: &'static str = "host:port";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "\"host:port\"", notes, HostPort::parse)
    }
}

impl Value for Cidr {
    const KIND: &'static str = "network";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        const EXPECTED: &str = "a network such as \"10.0.0.0/24\"";
        from_text(written, key, EXPECTED, notes, Cidr::parse)
    }
}

impl Element for Cidr {
    const LIST_KIND: &'static str = "networks";
}

impl Value for ExportPath {
    const KIND: &'static str = "path in the namespace";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "an absolute path", notes, ExportPath::parse)
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "folder";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        // A daemon's current folder is nobody's choice, so that a relative path means nothing.
        from_text(written, key, "an absolute path", notes, |text| {
            if !text.starts_with('/') {
                Err("expected an absolute path: it must begin with `/`".to_owned())
            } else if text.contains('\0') {
                Err("a path holds no NUL".to_owned())
            } else if text.split('/').all(|part| part.is_empty() || part == ".") {
                Err("expected a folder of its own, not the root of the machine".to_owned())
            } else if text.split('/').any(|part| part == "..") {
                Err("expected a path without `..`".to_owned())
            } else {
                Ok(text
                    .split('/')
                    .filter(|part| !part.is_empty())
                    .fold(PathBuf::from("/"), |folder, part| folder.join(part)))
            }
        })
    }
}

impl Value for Name {
    const KIND: &'static str = "name";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "a name", notes, Name::parse)
    }
}

impl Value for IdRange {
    const KIND: &'static str = "{ base, count }";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        let Some(table) = written.get_ref().as_table() else {
            wrong_type(written, key, "{ base = 1900000000, count = 4096 }", notes);
            return None;
        };
        let mut all_good = true;
        for name in table.keys() {
            if !["base", "count"].contains(&name.get_ref().as_ref()) {
                let hint = did_you_mean(name.get_ref(), ["base", "count"])
                    .unwrap_or_else(|| "expected `base` and `count`".to_owned());
                let what = format!("unknown key `{}` in `{}`", name.get_ref(), key.name);
                notes.add(name.span(), what, hint);
                all_good = false;
            }
        }
        let mut part = |name: &'static str| {
            let part_key = Key { name, ..Key::PLAIN };
            if let Some(value) = table.get(name) {
                u32::read(value, &part_key, notes)
            } else {
                notes.add(
                    written.span(),
                    format!("`{}` has no `{name}`", key.name),
                    "expected { base = 1900000000, count = 4096 }",
                );
                None
            }
        };
        let (base, count) = (part("base"), part("count"));
        let range = IdRange::new(base?, count?)
            .map_err(|hint| {
                let what = format!("`{}` is no range that data objects can have", key.name);
                notes.add(written.span(), what, hint);
            })
            .ok()?;
        all_good.then_some(range)
    }
}

/// Files over data servers: a number, or all there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeCount {
    /// As many as there are data servers, up to what a layout can hold.
    All,
    Exactly(u32),
}

impl StripeCount {
    /// More than this doesn't fit into the layout that a Linux client asks for.
    pub const LARGEST: u32 = 24;

    /// The stripes of a new file when there are so many data servers.
    pub fn among(self, data_servers: usize) -> u32 {
        let most = u32::try_from(data_servers).map_or(Self::LARGEST, |n| n.min(Self::LARGEST));
        match self {
            Self::All => most.max(1),
            Self::Exactly(count) => count,
        }
    }
}

impl Value for StripeCount {
    const KIND: &'static str = "number, or \"all\"";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        const EXPECTED: &str = "a number of data servers, or \"all\"";
        match written.get_ref() {
            DeValue::Integer(_) => {
                let count = whole_number(written, key, EXPECTED, notes)?;
                narrowed(count, written, key, notes).map(Self::Exactly)
            }
            _ => from_text(written, key, EXPECTED, notes, |text| match text {
                "all" => Ok(Self::All),
                _ => Err(format!("expected {EXPECTED}")),
            }),
        }
    }
}

/// "did you mean `x`?", when one of the candidates is near enough to be a slip of the finger.
pub(crate) fn did_you_mean<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let written_small = written.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&written_small, candidate),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// An enum of fixed words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$variant_about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)+
        }

        impl $name {
            /// Every word that the configuration knows for this.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(crate::value::one_of(other, Self::WORDS)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl crate::value::Value for $name {
            const KIND: &'static str = concat!("one of", $(" \"", $word, "\"",)+);

            fn read(
                written: &crate::value::Written<'_>,
                key: &crate::section::Key,
                notes: &mut crate::fault::Notes,
            ) -> Option<Self> {
                crate::value::read_word(written, key, notes, Self::WORDS, Self::parse)
            }
        }
    };
}
pub(crate) use words;

pub(crate) fn one_of(written: &str, words: &[&str]) -> String {
    did_you_mean(written, words.iter().copied())
        .unwrap_or_else(|| format!("expected {}", in_quotes(words)))
}

fn in_quotes(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(" or ")
}

pub(crate) fn read_word<T>(
    written: &Written<'_>,
    key: &Key,
    notes: &mut Notes,
    words: &[&str],
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    from_text(written, key, &in_quotes(words), notes, parse)
}
