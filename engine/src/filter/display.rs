//! The canonical text of an expression: SQL that parses to the same expression.

use std::fmt::{self, Display, Formatter};

use super::{Expr, Field, Literal, LiteralSet};

/// Text in single quotes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for (index, part) in self.0.split('\'').enumerate() {
            if index > 0 {
                f.write_str("''")?;
            }
            f.write_str(part)?;
        }
        f.write_str("'")
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => f.write_str(column.name()),
            Self::Header { response: false, name } => write!(f, "request_header({})", Quoted(name)),
            Self::Header { response: true, name } => write!(f, "response_header({})", Quoted(name)),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Timestamp(us) => match jiff::Timestamp::from_microsecond(*us) {
                Ok(timestamp) => write!(f, "'{timestamp}'"),
                // Outside the years 0-9999 there is no RFC 3339 text; the parser makes no such literal.
                Err(_) => write!(f, "'{us} µs'"),
            },
            Self::Bytes(bytes) => {
                f.write_str("'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
        }
    }
}

impl Display for LiteralSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, literal) in self.as_slice().iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            literal.fmt(f)?;
        }
        f.write_str(")")
    }
}

impl Expr {
    /// Writes it as a part of AND or under NOT: in parentheses where it binds weaker.
    fn fmt_part(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(_) | Self::Or(_) => write!(f, "({self})"),
            _ => self.fmt(f),
        }
    }

    fn fmt_predicate(&self, not: &str, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(field, set) => write!(f, "{field} {not}IN {set}"),
            Self::Between(field, low, high) => write!(f, "{field} {not}BETWEEN {low} AND {high}"),
            Self::Like(field, pattern) => {
                let operator = if pattern.is_insensitive() { "ILIKE" } else { "LIKE" };
                write!(f, "{field} {not}{operator} {}", Quoted(pattern.text()))?;
                match pattern.escape() {
                    Some(escape) => write!(f, " ESCAPE {}", Quoted(escape.encode_utf8(&mut [0; 4]))),
                    None => Ok(()),
                }
            }
            Self::Regex(field, pattern) => {
                let not = if not.is_empty() { "" } else { "!" };
                let operator = if pattern.is_insensitive() { "~*" } else { "~" };
                write!(f, "{field} {not}{operator} {}", Quoted(pattern.text()))
            }
            Self::IsNull(field) => write!(f, "{field} IS {not}NULL"),
            other => {
                f.write_str(not)?;
                other.fmt_part(f)
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut Formatter<'_>, parts: &[Self], word: &str, is_or: bool| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    f.write_str(word)?;
                }
                // AND binds tighter than OR: only the other way round needs parentheses.
                if is_or && matches!(part, Self::And(_)) { part.fmt(f)? } else { part.fmt_part(f)? }
            }
            Ok(())
        };
        match self {
            Self::Constant(true) => f.write_str("TRUE"),
            Self::Constant(false) => f.write_str("FALSE"),
            Self::Compare(field, comparison, literal) => write!(f, "{field} {} {literal}", comparison.symbol()),
            Self::Not(inner) => inner.fmt_predicate("NOT ", f),
            Self::And(parts) => joined(f, parts, " AND ", false),
            Self::Or(parts) => joined(f, parts, " OR ", true),
            predicate => predicate.fmt_predicate("", f),
        }
    }
}
