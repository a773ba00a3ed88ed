//! Literals typed by the field they are compared with: the check that `status = 'x'` is refused
//! where it is written.

use super::{ColumnKind, Field, Literal, lexer::Token};

/// What is wrong with a literal, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

/// The literal that `token` means for `field`.
///
/// # Errors
/// When it is not of the field's kind.
pub fn literal(field: &Field, token: &Token) -> Result<Literal, Mismatch> {
    let kind = field.kind();
    let mismatch =
        |hint: String| Mismatch { problem: format!("`{field}` holds {}, not {}", kind.noun(), token.describe()), hint };
    match (kind, token) {
        (ColumnKind::Text, Token::Text(text)) => Ok(Literal::Text(text.clone())),
        (ColumnKind::Text, Token::Integer(number)) => Err(mismatch(format!("write '{number}'"))),
        (ColumnKind::Integer, Token::Integer(number)) => Ok(Literal::Integer(*number)),
        (ColumnKind::Integer, Token::Text(text)) if text.parse::<u64>().is_ok() => {
            Err(mismatch(format!("write {text} without quotes")))
        }
        (ColumnKind::Integer, _) => Err(mismatch("write a number".to_owned())),
        (ColumnKind::Timestamp, Token::Text(text)) => timestamp(text)
            .map(Literal::Timestamp)
            .ok_or_else(|| mismatch("write RFC 3339 text such as '2026-01-31T12:00:00Z' or '2026-01-31'".to_owned())),
        (ColumnKind::Timestamp, _) => Err(mismatch("write RFC 3339 text such as '2026-01-31T12:00:00Z'".to_owned())),
        (ColumnKind::Binary, Token::Text(text)) => hash(text)
            .map(Literal::Bytes)
            .ok_or_else(|| mismatch("write its 64 hexadecimal digits in quotes".to_owned())),
        (ColumnKind::Binary, _) => Err(mismatch("write its 64 hexadecimal digits in quotes".to_owned())),
        (ColumnKind::Text, _) => Err(mismatch("write text in single quotes".to_owned())),
    }
}

/// Microseconds since the Unix epoch of RFC 3339 text; without an offset it is UTC, without a time midnight.
#[must_use]
pub fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_microsecond())
}

/// 32 bytes from 64 hexadecimal digits.
#[must_use]
pub fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        assert_eq!(timestamp("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert_eq!(timestamp("1970-01-01T01:00:00.000001+01:00"), Some(1));
        assert_eq!(timestamp("1970-01-02"), Some(86_400_000_000));
        assert_eq!(timestamp("1970-01-01 00:00:02"), Some(2_000_000));
        assert_eq!(timestamp("yesterday"), None);
        assert_eq!(timestamp("2026-13-01T00:00:00Z"), None);
    }

    #[test]
    fn hashes() {
        assert_eq!(hash(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(hash(&"0g".repeat(32)), None);
        assert_eq!(hash("0f"), None);
    }
}
