//! Named rules that a row must all pass: what a capture records, what a query returns.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Expr, Row};

/// One rule with the name it is counted under in the ledger (`filter:<name>`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `method`, `status`, `url`, `not-url`, `type`, `domain`, `device`, `source` or `where`.
    pub name: String,
    /// The condition a row must meet.
    pub expr: Expr,
}

/// Rules joined by AND.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterSet {
    /// The rules in the order they are tried.
    pub rules: Vec<Rule>,
}

impl FilterSet {
    /// The first rule the row does not pass; `None`: it passes all.
    pub fn first_rejection(&self, row: &impl Row) -> Option<&Rule> {
        self.rules.iter().find(|rule| !rule.expr.matches(row))
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All rules as one condition; `None` when there is none.
    #[must_use]
    pub fn to_expr(&self) -> Option<Expr> {
        (!self.rules.is_empty()).then(|| Expr::all(self.rules.iter().map(|rule| rule.expr.clone())))
    }
}

impl fmt::Display for FilterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_expr().map_or(Ok(()), |expr| expr.fmt(f))
    }
}

/// As its canonical text.
impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}
