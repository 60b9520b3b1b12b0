//! Keys as paths: components of keys, the names that they are shown by, and back.
//!
//! A component is what lies between two slashes of a key. Most are shown as they are. What can't be a
//! name of a folder's entry, or would be read as one of ours, is shown behind the mark `%=`:
//!
//! | shown | is |
//! |---|---|
//! | `%=n` and the component, escaped | empty, `.`, `..`, with a NUL in it, or beginning with `%=` |
//! | `%=f` and the component, escaped | the object `x` where keys below `x/` make a folder of that name |
//! | `%=l`, its start, `~`, 32 digits | an object whose shown name were longer than 255 bytes |
//! | `%=L`, its start, `~`, 32 digits | a folder of that kind |
//!
//! Escaped are `%`, `.`, and controls, as `%` and two digits. A name behind the mark that isn't what its
//! component is shown by names nothing: no component has two names. The digits are a hash of the whole
//! component, which is found again by listing what begins with its start: nothing is remembered.
//! Not shown is an object whose whole key is blanks: the SDK can't ask for it.
//!
//! Never here: requests.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt::Write as _;
use std::hash::Hasher as _;

const MARK: &str = "%=";
/// Of an entry's name.
pub(crate) const NAME_BYTES: usize = 255;
/// Of a whole key.
pub(crate) const KEY_BYTES: usize = 1024;
const HASH_DIGITS: usize = 32;
const LONG_START_BYTES: usize = NAME_BYTES - MARK.len() - 1 - 1 - HASH_DIGITS;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An object, whatever its mode says that it is.
    File,
    /// What begins with the key and a slash.
    Folder,
}

/// What a name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A folder of that component, or else an object.
    Either(String),
    /// The object, and only if there is a folder of that component.
    Shaded(String),
    /// One whose component begins so and has that hash.
    Long {
        kind: Kind,
        start: String,
        digits: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameFault {
    TooLong,
    /// Not UTF-8, or with a slash or a NUL in it, or empty, or a dot or two.
    Impossible,
    /// Behind the mark, and not what any component is shown by.
    Nothing,
}

fn escape(component: &str) -> String {
    let mut shown = String::with_capacity(component.len());
    for letter in component.chars() {
        if letter == '%' || letter == '.' || letter.is_ascii_control() {
            let _ = write!(shown, "%{:02X}", letter as u32);
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn unescape(shown: &str) -> Option<String> {
    let mut component = String::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = rest.find('%') {
        component.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3)?;
        component.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = &rest[at + 3..];
    }
    component.push_str(rest);
    Some(component)
}

fn digits(component: &str) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(component.as_bytes());
    format!("{:032x}", hasher.finish128().as_u128())
}

fn long(kind: Kind, component: &str) -> String {
    let letter = if kind == Kind::File { 'l' } else { 'L' };
    let mut start = String::new();
    for one in component.chars() {
        let shown = escape(one.encode_utf8(&mut [0; 4]));
        if start.len() + shown.len() > LONG_START_BYTES {
            break;
        }
        start.push_str(&shown);
    }
    format!("{MARK}{letter}{start}~{}", digits(component))
}

fn is_plain(component: &str) -> bool {
    !component.is_empty()
        && component != "."
        && component != ".."
        && !component.contains('\0')
        && !component.starts_with(MARK)
}

/// The name that a component is shown by. `shaded`: an object, and there is a folder of that component.
pub(crate) fn show(kind: Kind, component: &str, shaded: bool) -> String {
    let shown = if shaded {
        format!("{MARK}f{}", escape(component))
    } else if is_plain(component) {
        component.to_owned()
    } else {
        format!("{MARK}n{}", escape(component))
    };
    if shown.len() > NAME_BYTES {
        long(kind, component)
    } else {
        shown
    }
}

/// What a name asks for; the other way of [`show`].
pub(crate) fn ask(name: &[u8]) -> Result<Asked, NameFault> {
    if name.len() > NAME_BYTES {
        return Err(NameFault::TooLong);
    }
    let name = std::str::from_utf8(name).map_err(|_| NameFault::Impossible)?;
    if name.contains('/') {
        return Err(NameFault::Impossible);
    }
    let Some(marked) = name.strip_prefix(MARK) else {
        return if is_plain(name) {
            Ok(Asked::Either(name.to_owned()))
        } else {
            Err(NameFault::Impossible)
        };
    };
    let asked = if let Some(shown) = marked.strip_prefix('n') {
        let component = unescape(shown).ok_or(NameFault::Nothing)?;
        (show(Kind::File, &component, false) == name).then_some(Asked::Either(component))
    } else if let Some(shown) = marked.strip_prefix('f') {
        let component = unescape(shown).ok_or(NameFault::Nothing)?;
        (show(Kind::File, &component, true) == name).then_some(Asked::Shaded(component))
    } else {
        let kind = match marked.as_bytes().first() {
            Some(b'l') => Kind::File,
            Some(b'L') => Kind::Folder,
            _ => return Err(NameFault::Nothing),
        };
        marked[1..].rsplit_once('~').and_then(|(start, digits)| {
            Some(Asked::Long {
                kind,
                start: unescape(start)?,
                digits: digits.to_owned(),
            })
        })
    };
    asked.ok_or(NameFault::Nothing)
}

/// Whether the component is the one that a long name means.
pub(crate) fn is_long(kind: Kind, component: &str, wanted: &str) -> bool {
    digits(component) == wanted && {
        let plain = show(kind, component, false);
        // One that is long for its shade alone is asked for by its hash as well.
        plain == long(kind, component)
            || show(kind, component, kind == Kind::File) == long(kind, component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn component() -> impl Strategy<Value = String> {
        prop_oneof![
            "[^/]{0,20}",
            "[.%=nflL~\0]{0,6}",
            "%=[nflL]?[^/]{0,12}",
            "[^/]{200,300}",
            "[%.\0]{60,130}",
        ]
    }

    fn found(asked: &Asked, kind: Kind, component: &str) -> bool {
        match asked {
            Asked::Either(named) | Asked::Shaded(named) => named == component,
            Asked::Long {
                kind: wanted,
                start,
                digits,
            } => {
                *wanted == kind
                    && component.starts_with(start.as_str())
                    && is_long(kind, component, digits)
            }
        }
    }

    proptest! {
        #[test]
        fn every_component_is_found_by_the_name_it_is_shown_by(component in component(), shaded: bool) {
            for (kind, shaded) in [(Kind::File, shaded), (Kind::Folder, false)] {
                let name = show(kind, &component, shaded);
                prop_assert!(name.len() <= NAME_BYTES && !name.is_empty());
                prop_assert!(!name.contains(['/', '\0']) && name != "." && name != "..");
                let asked = ask(name.as_bytes());
                prop_assert!(asked.as_ref().is_ok_and(|asked| found(asked, kind, &component)), "{name}: {asked:?}");
            }
        }

        #[test]
        fn two_components_never_have_one_name(a in component(), b in component()) {
            prop_assume!(a != b);
            prop_assert_ne!(show(Kind::File, &a, false), show(Kind::File, &b, false));
            prop_assert_ne!(show(Kind::File, &a, true), show(Kind::Folder, &b, false));
        }

        #[test]
        fn no_component_has_two_names(name in "%=[nf][^/]{0,20}") {
            match ask(name.as_bytes()) {
                Ok(Asked::Either(component)) => prop_assert_eq!(show(Kind::File, &component, false), name),
                Ok(Asked::Shaded(component)) => prop_assert_eq!(show(Kind::File, &component, true), name),
                _ => {}
            }
        }
    }

    #[test]
    fn names_that_cannot_be_keys_are_refused() {
        assert_eq!(ask(b"a/b"), Err(NameFault::Impossible));
        assert_eq!(ask(&[0xff]), Err(NameFault::Impossible));
        assert_eq!(ask(&[b'a'; 256]), Err(NameFault::TooLong));
        assert_eq!(ask(b"%=x"), Err(NameFault::Nothing));
        assert_eq!(ask(b"%=nabc"), Err(NameFault::Nothing));
    }
}
