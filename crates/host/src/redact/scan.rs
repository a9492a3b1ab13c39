//! What may be part of what.

/// How many bytes from here on are wanted.
pub(super) fn run(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| wanted(**byte)).count()
}

/// What may be part of a name.
pub(super) fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What may be part of a secret that is not quoted, in prose.
pub(super) fn in_word(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'')
}

/// What may be part of a value in a URL's query.
pub(super) fn in_query(byte: u8) -> bool {
    in_word(byte) && !matches!(byte, b'&' | b'#' | b'<' | b'>')
}
