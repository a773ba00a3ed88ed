//! LIKE patterns and regular expressions, compiled once; both take time linear in the text.

use std::fmt;

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

/// Longest pattern, bytes.
const MAX_PATTERN: usize = 16 * 1024;
/// Most memory one compiled pattern may take, bytes.
const MAX_COMPILED: usize = 2 << 20;
/// Deepest nesting of groups in a regular expression.
const MAX_NESTING: u32 = 64;

fn compile(pattern: &str, insensitive: bool) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("a pattern of {} bytes is too long, the limit is {MAX_PATTERN}", pattern.len()));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(insensitive)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern compiles to more than 2 MiB".to_owned(),
            // The library's message draws the pattern over several lines; its last line says what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", last.trim_start_matches("error: "))
            }
        })
}

/// A regular expression, found anywhere in the text unless it is anchored.
#[derive(Clone)]
pub struct RegexPattern {
    text: String,
    insensitive: bool,
    regex: Regex,
}

impl RegexPattern {
    /// Compiles a pattern in the syntax of the `regex` crate.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn new(text: &str, insensitive: bool) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), insensitive, regex: compile(text, insensitive)? })
    }

    /// The pattern as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether case is ignored (`~*`).
    #[must_use]
    pub fn is_insensitive(&self) -> bool {
        self.insensitive
    }

    /// Whether it is found in `value`.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.insensitive) == (&other.text, other.insensitive)
    }
}

impl fmt::Debug for RegexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}{:?}", if self.insensitive { "*" } else { "" }, self.text)
    }
}

/// How a LIKE pattern is matched.
#[derive(Clone)]
enum Matcher {
    Anything,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(Box<Finder<'static>>),
    Regex(Regex),
}

/// A LIKE or ILIKE pattern: matches the whole text.
#[derive(Clone)]
pub struct LikePattern {
    text: String,
    escape: Option<char>,
    insensitive: bool,
    matcher: Matcher,
}

/// One piece of a LIKE pattern.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// These characters.
    Literal(String),
    /// `_`.
    One,
    /// `%`.
    Many,
}

impl LikePattern {
    /// Compiles a pattern; `escape` makes the character after it literal.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn new(text: &str, escape: Option<char>, insensitive: bool) -> Result<Self, String> {
        let pieces = pieces(text, escape)?;
        let matcher = Self::matcher(&pieces, insensitive)?;
        Ok(Self { text: text.to_owned(), escape, insensitive, matcher })
    }

    /// A pattern that finds `part` anywhere.
    ///
    /// # Errors
    /// When the text is too long.
    pub fn containing(part: &str, insensitive: bool) -> Result<Self, String> {
        let (escaped, escape) = escaped(part);
        Self::new(&format!("%{escaped}%"), escape, insensitive)
    }

    /// A pattern that wants `suffix` at the end, with anything before it.
    ///
    /// # Errors
    /// When the text is too long.
    pub fn ending(suffix: &str) -> Result<Self, String> {
        let (escaped, escape) = escaped(suffix);
        Self::new(&format!("%{escaped}"), escape, false)
    }

    /// A pattern in which `*` stands for any run of characters and all else for itself.
    ///
    /// # Errors
    /// When the text is too long.
    pub fn from_glob(glob: &str) -> Result<Self, String> {
        let (escaped, escape) = escaped(glob);
        Self::new(&escaped.replace('*', "%"), escape, false)
    }

    fn matcher(pieces: &[Piece], insensitive: bool) -> Result<Matcher, String> {
        use Piece::{Literal, Many};
        if !insensitive {
            match pieces {
                [] => return Ok(Matcher::Exact(String::new())),
                [Many] => return Ok(Matcher::Anything),
                [Literal(text)] => return Ok(Matcher::Exact(text.clone())),
                [Literal(text), Many] => return Ok(Matcher::Prefix(text.clone())),
                [Many, Literal(text)] => return Ok(Matcher::Suffix(text.clone())),
                [Many, Literal(text), Many] => {
                    return Ok(Matcher::Contains(Box::new(Finder::new(text).into_owned())));
                }
                _ => {}
            }
        } else if pieces == [Many] {
            return Ok(Matcher::Anything);
        }
        // A pattern that starts (ends) with `%` is a search that is not anchored there.
        let mut regex = String::from("(?s)");
        if pieces.first() != Some(&Many) {
            regex.push_str(r"\A");
        }
        let inner = pieces.strip_prefix(&[Many]).unwrap_or(pieces);
        let inner = inner.strip_suffix(&[Many]).unwrap_or(inner);
        for piece in inner {
            match piece {
                Literal(text) => regex.push_str(&regex::escape(text)),
                Piece::One => regex.push('.'),
                Many => regex.push_str(".*?"),
            }
        }
        if pieces.last() != Some(&Many) {
            regex.push_str(r"\z");
        }
        compile(&regex, insensitive).map(Matcher::Regex)
    }

    /// The pattern as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The escape character, when one was named.
    #[must_use]
    pub fn escape(&self) -> Option<char> {
        self.escape
    }

    /// Whether case is ignored (ILIKE).
    #[must_use]
    pub fn is_insensitive(&self) -> bool {
        self.insensitive
    }

    /// Whether all of `value` matches.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        match &self.matcher {
            Matcher::Anything => true,
            Matcher::Exact(text) => value == text,
            Matcher::Prefix(text) => value.starts_with(text.as_str()),
            Matcher::Suffix(text) => value.ends_with(text.as_str()),
            Matcher::Contains(finder) => finder.find(value.as_bytes()).is_some(),
            Matcher::Regex(regex) => regex.is_match(value),
        }
    }
}

impl PartialEq for LikePattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.escape, self.insensitive) == (&other.text, other.escape, other.insensitive)
    }
}

impl fmt::Debug for LikePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.insensitive { "ILIKE " } else { "LIKE " }, self.text)?;
        self.escape.map_or(Ok(()), |escape| write!(f, " ESCAPE {escape:?}"))
    }
}

/// `text` with `%` and `_` made literal, and the escape character that does it, when one is needed.
fn escaped(text: &str) -> (String, Option<char>) {
    const ESCAPE: char = '\\';
    if !text.contains(['%', '_']) {
        return (text.to_owned(), None);
    }
    let mut escaped = String::with_capacity(text.len() + 4);
    for character in text.chars() {
        if matches!(character, '%' | '_' | ESCAPE) {
            escaped.push(ESCAPE);
        }
        escaped.push(character);
    }
    (escaped, Some(ESCAPE))
}

fn pieces(pattern: &str, escape: Option<char>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let wildcard = if Some(character) == escape {
            match characters.next() {
                Some(next) if matches!(next, '%' | '_') || Some(next) == escape => literal.push(next),
                _ => return Err(format!("the escape character {character} must stand before %, _ or itself")),
            }
            None
        } else {
            match character {
                '%' => Some(Piece::Many),
                '_' => Some(Piece::One),
                _ => {
                    literal.push(character);
                    None
                }
            }
        };
        if let Some(piece) = wildcard {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            // `%%` is `%`.
            if piece != Piece::Many || pieces.last() != Some(&Piece::Many) {
                pieces.push(piece);
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like() {
        let like =
            |pattern: &str, value: &str| LikePattern::new(pattern, None, false).expect("compiles").is_match(value);
        assert!(like("%.example.com", "a.example.com"));
        assert!(!like("%.example.com", "example.com"));
        assert!(like("a%c", "abbc") && like("a%c", "ac") && !like("a%c", "acd"));
        assert!(like("a_c", "aéc") && !like("a_c", "ac"));
        assert!(like("%a.c%", "xa.cy") && !like("%a.c%", "xabcy"));
        assert!(like("", "") && !like("", "a") && like("%", "") && like("%%", "a\nb"));
        assert!(like("_%_", "ab") && !like("_%_", "a"));
    }

    #[test]
    fn escape_and_case() {
        let pattern = LikePattern::new("50!%!_!!%", Some('!'), true).expect("compiles");
        assert!(pattern.is_match("50%_!x") && !pattern.is_match("505_!"));
        assert!(LikePattern::new("a!", Some('!'), false).is_err());
        assert!(LikePattern::new("a!b", Some('!'), false).is_err());
        let pattern = LikePattern::containing("É_x", true).expect("compiles");
        assert!(pattern.is_match("--é_X--") && !pattern.is_match("--éyX--"));
    }

    #[test]
    fn regexes_are_bounded() {
        assert!(RegexPattern::new("a{1000}{1000}{1000}", false).is_err());
        assert!(RegexPattern::new("(", false).expect_err("refused").contains("unclosed group"));
        assert!(RegexPattern::new(&"(".repeat(10_000), false).is_err());
        // Exponential for engines that backtrack.
        let pattern = RegexPattern::new("(a+)+$", false).expect("compiles");
        assert!(!pattern.is_match(&format!("{}b", "a".repeat(20_000))));
    }
}
