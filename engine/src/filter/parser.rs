//! Tokens to expression, by recursive descent of bounded depth (the grammar stands in [`super`]).

use std::ops::Range;

use super::{
    Column, ColumnKind, Comparison, Expr, Field, FilterError, LikePattern, Literal, LiteralSet, RegexPattern, check,
    lexer::{self, Token},
};

/// Deepest nesting of parentheses and NOT.
pub const MAX_DEPTH: usize = 64;
/// Most predicates in one condition.
pub const MAX_PREDICATES: usize = 4096;
/// Most regular expressions and case-insensitive patterns in one condition: each may take 2 MiB.
pub const MAX_PATTERNS: usize = 256;

/// Words that cannot be a column.
const KEYWORDS: [&str; 12] =
    ["AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE"];

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, predicates: 0, patterns: 0 };
    if parser.peek() == &Token::End {
        return Err(parser.error("a condition is empty").hint("write one, such as status >= 400"));
    }
    let expr = parser.condition()?;
    match parser.peek() {
        Token::End => Ok(expr),
        Token::Symbol(")") => Err(parser.error("this `)` closes nothing")),
        other => Err(parser.error(format!("expected AND, OR or the end, found {}", other.describe()))),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    depth: usize,
    predicates: usize,
    patterns: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is End and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn offset(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].1.start
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_word(keyword);
        if found {
            self.next();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(seen) if *seen == symbol);
        if found {
            self.next();
        }
        found
    }

    fn error(&self, problem: impl Into<String>) -> FilterError {
        FilterError::at(self.text, self.offset(), problem)
    }

    fn expected(&self, what: &str) -> FilterError {
        self.error(format!("expected {what}, found {}", self.peek().describe()))
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, FilterError>) -> Result<T, FilterError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("conditions nest deeper than {MAX_DEPTH}")).hint("simplify the filter"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn condition(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.conjunction()?];
        while self.take_word("OR") {
            parts.push(self.conjunction()?);
        }
        Ok(Expr::any(parts))
    }

    fn conjunction(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.negation()?];
        while self.take_word("AND") {
            parts.push(self.negation()?);
        }
        Ok(Expr::all(parts))
    }

    fn negation(&mut self) -> Result<Expr, FilterError> {
        if self.take_word("NOT") {
            return self.deeper(Self::negation).map(Expr::negated);
        }
        if self.peek() == &Token::Symbol("(") {
            let open = self.offset();
            self.next();
            let inner = self.deeper(Self::condition)?;
            if !self.take_symbol(")") {
                let error = self.expected("AND, OR or `)`");
                let opened = self.text.get(..open).unwrap_or_default().chars().count() + 1;
                return Err(error.hint(format!("close the parenthesis opened at position {opened}")));
            }
            return Ok(inner);
        }
        for (word, value) in [("TRUE", true), ("FALSE", false)] {
            if self.take_word(word) {
                return Ok(Expr::Constant(value));
            }
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Expr, FilterError> {
        self.predicates += 1;
        if self.predicates > MAX_PREDICATES {
            return Err(self.error(format!("more than {MAX_PREDICATES} predicates")).hint("use IN (…) for lists"));
        }
        if matches!(self.peek(), Token::Text(_) | Token::Integer(_)) {
            return self.literal_first();
        }
        let field = self.field()?;
        let negated = self.take_word("NOT");
        let predicate = self.after_field(field, negated)?;
        Ok(if negated { predicate.negated() } else { predicate })
    }

    /// `400 <= status`, read as `status >= 400`.
    fn literal_first(&mut self) -> Result<Expr, FilterError> {
        let offset = self.offset();
        let token = self.next();
        let Some(comparison) = self.comparison() else {
            return Err(self.expected("a comparison"));
        };
        let field = self.field()?;
        let literal = self.typed(&field, &token, offset)?;
        Ok(Expr::Compare(field, comparison.flipped(), literal))
    }

    fn field(&mut self) -> Result<Field, FilterError> {
        let offset = self.offset();
        let (word, quoted) = match self.peek() {
            Token::Word(word) => (word.clone(), false),
            Token::Quoted(word) => (word.clone(), true),
            _ => return Err(self.expected("a column")),
        };
        if !quoted && KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(&word)) {
            return Err(self.expected("a column"));
        }
        self.next();
        if !quoted && self.take_symbol("(") {
            return self.function(&word, offset);
        }
        Column::parse(&word).map(Field::Column).ok_or_else(|| {
            let error = FilterError::at(self.text, offset, format!("there is no column `{}`", shortened(&word)));
            match word.to_ascii_lowercase().as_str() {
                "request_headers" => error.hint("ask for one field: request_header('name')"),
                "response_headers" => error.hint("ask for one field: response_header('name')"),
                lower => match Column::nearest(lower) {
                    Some(column) => error.hint(format!("did you mean `{}`?", column.name())),
                    None => error.hint(format!(
                        "the columns are {}",
                        Column::ALL.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
                    )),
                },
            }
        })
    }

    /// `request_header('name')`, with the name and its parenthesis taken.
    fn function(&mut self, word: &str, offset: usize) -> Result<Field, FilterError> {
        let response = match word.to_ascii_lowercase().as_str() {
            "request_header" => false,
            "response_header" => true,
            _ => {
                let problem = format!("there is no function `{}`", shortened(word));
                return Err(FilterError::at(self.text, offset, problem)
                    .hint("the functions are request_header('name') and response_header('name')"));
            }
        };
        let Token::Text(name) = self.peek() else {
            return Err(self.expected("the field's name in single quotes"));
        };
        let name = name.to_ascii_lowercase();
        self.next();
        if !self.take_symbol(")") {
            return Err(self.expected("`)`"));
        }
        Ok(Field::Header { response, name })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let found = match self.peek() {
            Token::Symbol(symbol) => Comparison::ALL.into_iter().find(|comparison| comparison.symbol() == *symbol),
            _ => None,
        };
        if found.is_some() {
            self.next();
        }
        found
    }

    fn after_field(&mut self, field: Field, negated: bool) -> Result<Expr, FilterError> {
        if self.take_word("IN") {
            return self.list(field);
        }
        if self.take_word("BETWEEN") {
            let low = self.literal(&field)?;
            if !self.take_word("AND") {
                return Err(self.expected("AND and the upper bound of BETWEEN"));
            }
            let high = self.literal(&field)?;
            return Ok(Expr::Between(field, low, high));
        }
        for (word, insensitive) in [("LIKE", false), ("ILIKE", true)] {
            if self.take_word(word) {
                return self.like(field, insensitive);
            }
        }
        if negated {
            return Err(self.expected("IN, BETWEEN, LIKE or ILIKE after NOT"));
        }
        if self.take_word("IS") {
            let negated = self.take_word("NOT");
            if !self.take_word("NULL") {
                return Err(self.expected("NULL"));
            }
            let predicate = Expr::IsNull(field);
            return Ok(if negated { predicate.negated() } else { predicate });
        }
        for (symbol, insensitive, negated) in
            [("~", false, false), ("~*", true, false), ("!~", false, true), ("!~*", true, true)]
        {
            if self.take_symbol(symbol) {
                let predicate = self.regex(field, insensitive)?;
                return Ok(if negated { predicate.negated() } else { predicate });
            }
        }
        if let Some(comparison) = self.comparison() {
            let literal = self.literal(&field)?;
            return Ok(Expr::Compare(field, comparison, literal));
        }
        Err(self.expected("a comparison").hint("write one of = != < <= > >= IN BETWEEN LIKE ILIKE ~ ~* IS"))
    }

    fn list(&mut self, field: Field) -> Result<Expr, FilterError> {
        if !self.take_symbol("(") {
            return Err(self.expected("`(` and a list"));
        }
        let mut literals = vec![self.literal(&field)?];
        while self.take_symbol(",") {
            literals.push(self.literal(&field)?);
        }
        if !self.take_symbol(")") {
            return Err(self.expected("`,` or `)`"));
        }
        LiteralSet::new(literals).map(|set| Expr::In(field, set)).ok_or_else(|| self.expected("a literal"))
    }

    /// The text of a pattern for `field`, which must hold text.
    fn pattern_text(&mut self, field: &Field, operator: &str) -> Result<(String, usize), FilterError> {
        let offset = self.offset();
        if field.kind() != ColumnKind::Text {
            let problem = format!("{operator} needs text, `{field}` holds {}", field.kind().noun());
            return Err(FilterError::at(self.text, offset, problem).hint("use = < > BETWEEN or IN"));
        }
        match self.next() {
            Token::Text(text) => Ok((text, offset)),
            other => Err(FilterError::at(
                self.text,
                offset,
                format!("expected a pattern in single quotes, found {}", other.describe()),
            )),
        }
    }

    fn count_pattern(&mut self, offset: usize) -> Result<(), FilterError> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(FilterError::at(self.text, offset, format!("more than {MAX_PATTERNS} patterns"))
                .hint("join them into one regular expression with |"));
        }
        Ok(())
    }

    fn like(&mut self, field: Field, insensitive: bool) -> Result<Expr, FilterError> {
        let (text, offset) = self.pattern_text(&field, if insensitive { "ILIKE" } else { "LIKE" })?;
        self.count_pattern(offset)?;
        let mut escape = None;
        if self.take_word("ESCAPE") {
            let mut characters = match self.peek() {
                Token::Text(text) => text.chars(),
                _ => return Err(self.expected("one character in single quotes")),
            };
            escape = characters.next();
            if escape.is_none() || characters.next().is_some() {
                return Err(self.expected("one character in single quotes"));
            }
            self.next();
        }
        let pattern = LikePattern::new(&text, escape, insensitive)
            .map_err(|problem| FilterError::at(self.text, offset, problem))?;
        Ok(Expr::Like(field, pattern))
    }

    fn regex(&mut self, field: Field, insensitive: bool) -> Result<Expr, FilterError> {
        let (text, offset) = self.pattern_text(&field, "a regular expression")?;
        self.count_pattern(offset)?;
        let pattern =
            RegexPattern::new(&text, insensitive).map_err(|problem| FilterError::at(self.text, offset, problem))?;
        Ok(Expr::Regex(field, pattern))
    }

    fn literal(&mut self, field: &Field) -> Result<Literal, FilterError> {
        let offset = self.offset();
        match self.next() {
            token @ (Token::Text(_) | Token::Integer(_)) => self.typed(field, &token, offset),
            other => {
                let error = FilterError::at(
                    self.text,
                    offset,
                    format!("expected a literal for `{field}`, found {}", other.describe()),
                );
                Err(match &other {
                    token if token.is_word("NULL") => error.hint(format!("write {field} IS NULL")),
                    Token::Word(word) | Token::Quoted(word) if field.kind() != ColumnKind::Integer => {
                        error.hint(format!("text stands in single quotes: '{}'", shortened(word)))
                    }
                    _ => error,
                })
            }
        }
    }

    fn typed(&self, field: &Field, token: &Token, offset: usize) -> Result<Literal, FilterError> {
        check::literal(field, token)
            .map_err(|mismatch| FilterError::at(self.text, offset, mismatch.problem).hint(mismatch.hint))
    }
}

fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text() {
        for (text, canonical) in [
            (
                "method = 'POST' AND status >= 400 and domain LIKE '%.example.com' AND NOT url ~ '/health'",
                "method = 'POST' AND status >= 400 AND domain LIKE '%.example.com' AND url !~ '/health'",
            ),
            ("400 <= STATUS or (a_)", "400 <= STATUS or (a_)"),
            ("400 <= STATUS", "status >= 400"),
            (
                "(status = 1 OR status = 2) AND (port = 3 AND id = 4)",
                "(status = 1 OR status = 2) AND port = 3 AND id = 4",
            ),
            ("status = 1 OR (status = 2 AND port == 3)", "status = 1 OR status = 2 AND port = 3"),
            ("NOT (status IN (404, 200, 404))", "status NOT IN (200, 404)"),
            ("NOT NOT status = 1", "NOT NOT status = 1"),
            ("status NOT BETWEEN 1 AND 2 AND error IS NOT NULL", "status NOT BETWEEN 1 AND 2 AND error IS NOT NULL"),
            ("started >= '2026-01-31'", "started >= '2026-01-31T00:00:00Z'"),
            ("path NOT ILIKE 'a!%%' ESCAPE '!'", "path NOT ILIKE 'a!%%' ESCAPE '!'"),
            ("\"type\" = 'it''s'", "type = 'it''s'"),
            ("request_header('User-Agent') ~* 'curl'", "request_header('user-agent') ~* 'curl'"),
            ("TRUE", "TRUE"),
        ] {
            match Expr::parse(text) {
                Ok(expr) => assert_eq!(expr.to_string(), canonical),
                Err(error) => assert!(text.contains("a_"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        for (text, message) in [
            ("domian = 'a'", "filter, position 1: there is no column `domian`; did you mean `domain`?"),
            ("status = 'x'", "filter, position 10: `status` holds an integer, not 'x'; write a number"),
            ("status = '200'", "filter, position 10: `status` holds an integer, not '200'; write 200 without quotes"),
            (
                "method = POST",
                "filter, position 10: expected a literal for `method`, found `POST`; text stands in single quotes: 'POST'",
            ),
            (
                "status = NULL",
                "filter, position 10: expected a literal for `status`, found `NULL`; write status IS NULL",
            ),
            (
                "(status = 1",
                "filter, position 12: expected AND, OR or `)`, found the end; close the parenthesis opened at position 1",
            ),
            ("status = 1)", "filter, position 11: this `)` closes nothing"),
            ("", "filter, position 1: a condition is empty; write one, such as status >= 400"),
            (
                "status ~ '4'",
                "filter, position 10: a regular expression needs text, `status` holds an integer; use = < > BETWEEN or IN",
            ),
            (
                "started > 'x'",
                "filter, position 11: `started` holds a timestamp, not 'x'; write RFC 3339 text such as '2026-01-31T12:00:00Z' or '2026-01-31'",
            ),
        ] {
            assert_eq!(Expr::parse(text).expect_err(text).to_string(), message);
        }
        let error = Expr::parse("status = 1 AND x").expect_err("refused");
        assert_eq!(error.excerpt("status = 1 AND x").expect("has a place"), "status = 1 AND x\n               ^");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}id = 1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Expr::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Expr::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Expr::parse(&nested(50_000)).is_err());
        assert!(Expr::parse(&format!("{}id = 1", "NOT ".repeat(50_000))).is_err());
    }
}
