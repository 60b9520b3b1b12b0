//! How rows of the local store are written: fields, each behind its length.
//!
//! Never here: what they mean.

pub(crate) fn join(fields: &[&[u8]]) -> Vec<u8> {
    let mut row = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        row.extend_from_slice(&(field.len() as u32).to_be_bytes());
        row.extend_from_slice(field);
    }
    row
}

/// `None`: the row is damaged.
pub(crate) fn split<const N: usize>(row: &[u8]) -> Option<[&[u8]; N]> {
    let mut rest = row;
    let mut fields: [&[u8]; N] = [&[]; N];
    for field in &mut fields {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *field = bytes;
        rest = behind;
    }
    rest.is_empty().then_some(fields)
}

/// All of a row that has as many as it happens to have.
pub(crate) fn fields(row: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = row;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        fields.push(bytes);
        rest = behind;
    }
    Some(fields)
}

pub(crate) fn number(field: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(field.try_into().ok()?))
}

pub(crate) fn text(field: &[u8]) -> Option<String> {
    String::from_utf8(field.to_vec()).ok()
}
