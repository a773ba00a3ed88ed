//! Text to tokens, each with its place.

use std::ops::Range;

use super::FilterError;

/// Longest text of a condition, bytes.
pub const MAX_TEXT: usize = 256 * 1024;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A word: keyword, column or function.
    Word(String),
    /// A word in double quotes: always a column.
    Quoted(String),
    /// Text in single quotes, with `''` undone.
    Text(String),
    /// An integer within the range of `i64` and `u64` together.
    Integer(i128),
    /// An operator or a mark of punctuation, in its canonical form.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as it is named in messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let short = |text: &str| {
            let mut shown: String = text.chars().take(40).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            shown
        };
        match self {
            Self::Word(word) => format!("`{}`", short(word)),
            Self::Quoted(word) => format!("\"{}\"", short(word)),
            Self::Text(text) => format!("'{}'", short(text)),
            Self::Integer(number) => format!("{number}"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end".to_owned(),
        }
    }

    /// Whether it is this keyword, without regard to case.
    #[must_use]
    pub fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Symbols by length, so that the longest is taken; with the canonical form of each.
const SYMBOLS: [(&str, &str); 16] = [
    ("!~*", "!~*"),
    ("!~", "!~"),
    ("~*", "~*"),
    ("~", "~"),
    ("<>", "!="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("==", "="),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("(", "("),
    (")", ")"),
    (",", ","),
    (";", ";"),
];

/// All tokens of a text with their byte ranges; the last is [`Token::End`].
///
/// # Errors
/// Text that is too long, quotes that are not closed, numbers out of range, characters that mean nothing.
pub fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, FilterError> {
    if text.len() > MAX_TEXT {
        return Err(FilterError::at(text, 0, format!("a filter of {} bytes is too long", text.len()))
            .hint(format!("use at most {MAX_TEXT} bytes")));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, len) = token(text, at, first)?;
        tokens.push((token, at..at + len));
        at += len;
    }
    tokens.push((Token::End, text.len()..text.len()));
    Ok(tokens)
}

fn token(text: &str, at: usize, first: char) -> Result<(Token, usize), FilterError> {
    let rest = &text[at..];
    match first {
        '\'' => quoted(text, at, '\'').map(|(inner, len)| (Token::Text(inner), len)),
        '"' => quoted(text, at, '"').map(|(inner, len)| (Token::Quoted(inner), len)),
        _ if first.is_ascii_digit() => number(text, at),
        '-' | '+' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => number(text, at),
        _ if first.is_alphabetic() || first == '_' => {
            let len =
                rest.find(|character: char| !(character.is_alphanumeric() || character == '_')).unwrap_or(rest.len());
            Ok((Token::Word(rest[..len].to_owned()), len))
        }
        _ => match SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            Some((symbol, canonical)) => Ok((Token::Symbol(canonical), symbol.len())),
            None => {
                let error = FilterError::at(text, at, format!("`{first}` means nothing here"));
                Err(match first {
                    '&' => error.hint("write AND"),
                    '|' => error.hint("write OR"),
                    '!' => error.hint("write NOT"),
                    '‘' | '’' | '“' | '”' | '`' => error.hint("text stands in plain single quotes: 'text'"),
                    _ => error,
                })
            }
        },
    }
}

/// The inside of a quoted run that starts at `at`, and its length with the quotes.
fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize), FilterError> {
    let mut inner = String::new();
    let mut rest = &text[at + 1..];
    let mut len = 1;
    while let Some(end) = rest.find(quote) {
        inner.push_str(&rest[..end]);
        len += end + 1;
        rest = &rest[end + 1..];
        if !rest.starts_with(quote) {
            return Ok((inner, len));
        }
        inner.push(quote);
        len += 1;
        rest = &rest[1..];
    }
    Err(FilterError::at(text, at, "a quote is not closed")
        .hint(format!("end it with {quote}; inside, {quote}{quote} stands for one {quote}")))
}

fn number(text: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let rest = &text[at..];
    let sign = usize::from(rest.starts_with(['-', '+']));
    let digits = rest[sign..].find(|next: char| !next.is_ascii_digit()).unwrap_or(rest.len() - sign);
    let len = sign + digits;
    if rest[len..].starts_with(|next: char| next.is_alphanumeric() || matches!(next, '.' | '_')) {
        let end = rest
            .find(|next: char| !(next.is_alphanumeric() || matches!(next, '.' | '_' | '-' | '+')))
            .unwrap_or(rest.len());
        let shown: String = rest[..end].chars().take(40).collect();
        return Err(FilterError::at(text, at, format!("`{shown}` is not an integer"))
            .hint("numbers are whole (durations in microseconds, sizes in bytes); text stands in single quotes"));
    }
    let out_of_range =
        || FilterError::at(text, at, "the number is out of range").hint("integers go up to 18446744073709551615");
    let value: i128 = rest[..len].parse().map_err(|_| out_of_range())?;
    if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
        return Err(out_of_range());
    }
    Ok((Token::Integer(value), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        tokens(text).expect("lexes").into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn tokens_of_a_condition() {
        assert_eq!(
            kinds("url!~*'it''s' AND status<>-1"),
            [
                Token::Word("url".into()),
                Token::Symbol("!~*"),
                Token::Text("it's".into()),
                Token::Word("AND".into()),
                Token::Word("status".into()),
                Token::Symbol("!="),
                Token::Integer(-1),
                Token::End,
            ]
        );
    }

    #[test]
    fn errors_name_the_place() {
        for (text, wanted) in [
            ("a = 'x", "filter, position 5: a quote is not closed; end it with '; inside, '' stands for one '"),
            ("é && b", "filter, position 3: `&` means nothing here; write AND"),
            (
                "a = 99999999999999999999",
                "filter, position 5: the number is out of range; integers go up to 18446744073709551615",
            ),
        ] {
            assert_eq!(tokens(text).expect_err("refused").to_string(), wanted);
        }
        assert!(tokens("status = 4xx").expect_err("refused").to_string().contains("`4xx` is not an integer"));
    }
}
