//! The expression: a checked condition whose patterns are compiled and whose literals have the type
//! of the column they are compared with.

use std::collections::BTreeSet;

use super::{Column, ColumnKind, FilterError, LikePattern, RegexPattern, parser};

/// What a condition asks about: a column, or the first value of a header field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A column.
    Column(Column),
    /// The first value of a field line of this name (case does not matter; kept lower case), null when there is none.
    Header {
        /// Of the response rather than of the request.
        response: bool,
        /// The field's name, lower case.
        name: String,
    },
}

impl Field {
    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> ColumnKind {
        match self {
            Self::Column(column) => column.kind(),
            Self::Header { .. } => ColumnKind::Text,
        }
    }
}

/// `=`, `!=`, `<`, `<=`, `>`, `>=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Every comparison.
    pub const ALL: [Self; 6] =
        [Self::Equal, Self::NotEqual, Self::Less, Self::LessOrEqual, Self::Greater, Self::GreaterOrEqual];

    /// The operator as written.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// The comparison with its sides exchanged.
    #[must_use]
    pub const fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// Whether two values in this order satisfy it.
    #[must_use]
    pub const fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A literal with the type of the field it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Literal {
    /// For text.
    Text(String),
    /// For integers; may lie outside what the column can hold.
    Integer(i128),
    /// For timestamps: microseconds since the Unix epoch.
    Timestamp(i64),
    /// For hashes.
    Bytes([u8; 32]),
}

/// The literals of an IN list: sorted, each once, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralSet(Vec<Literal>);

impl LiteralSet {
    /// A set of at least one literal; `None` when there is none.
    #[must_use]
    pub fn new(literals: impl IntoIterator<Item = Literal>) -> Option<Self> {
        let sorted: BTreeSet<Literal> = literals.into_iter().collect();
        (!sorted.is_empty()).then(|| Self(sorted.into_iter().collect()))
    }

    /// The literals, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[Literal] {
        &self.0
    }
}

/// A condition over the columns of `exchanges`.
///
/// The literals of a variant have the kind of its field: [`parse`](Self::parse) and the constructors
/// see to it. Three-valued: a predicate over a null is unknown, except [`IsNull`](Self::IsNull).
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `TRUE` or `FALSE`.
    Constant(bool),
    /// `field op literal`.
    Compare(Field, Comparison, Literal),
    /// `field IN (…)`.
    In(Field, LiteralSet),
    /// `field BETWEEN low AND high`, both included.
    Between(Field, Literal, Literal),
    /// `field LIKE pattern`, `field ILIKE pattern`.
    Like(Field, LikePattern),
    /// `field ~ pattern`, `field ~* pattern`.
    Regex(Field, RegexPattern),
    /// `field IS NULL`.
    IsNull(Field),
    /// `NOT expr`.
    Not(Box<Self>),
    /// All of them; at least two, none of them an `And`.
    And(Vec<Self>),
    /// Any of them; at least two, none of them an `Or`.
    Or(Vec<Self>),
}

impl Expr {
    /// Reads a condition.
    ///
    /// # Errors
    /// Where the text departs from the language, what was expected, and often what is meant.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text)
    }

    /// All of `parts` (TRUE when there is none); nested conjunctions become one.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Self::Constant(true),
            1 => flat.swap_remove(0),
            _ => Self::And(flat),
        }
    }

    /// Any of `parts` (FALSE when there is none); nested disjunctions become one.
    #[must_use]
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Self::Constant(false),
            1 => flat.swap_remove(0),
            _ => Self::Or(flat),
        }
    }

    /// `NOT expr`.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// `column IN (texts)`, or `column = text` when there is one; FALSE when there is none.
    #[must_use]
    pub fn text_in(column: Column, texts: impl IntoIterator<Item = String>) -> Self {
        let field = Field::Column(column);
        match LiteralSet::new(texts.into_iter().map(Literal::Text)) {
            None => Self::Constant(false),
            Some(LiteralSet(mut one)) if one.len() == 1 => Self::Compare(field, Comparison::Equal, one.swap_remove(0)),
            Some(set) => Self::In(field, set),
        }
    }

    /// Every field the condition asks about.
    #[must_use]
    pub fn fields(&self) -> BTreeSet<&Field> {
        let mut fields = BTreeSet::new();
        self.visit(&mut |field| {
            fields.insert(field);
        });
        fields
    }

    /// Every column the condition asks about (without header fields).
    #[must_use]
    pub fn columns(&self) -> BTreeSet<Column> {
        let mut columns = BTreeSet::new();
        self.visit(&mut |field| {
            if let Field::Column(column) = field {
                columns.insert(*column);
            }
        });
        columns
    }

    fn visit<'a>(&'a self, each: &mut impl FnMut(&'a Field)) {
        match self {
            Self::Constant(_) => {}
            Self::Compare(field, ..)
            | Self::In(field, _)
            | Self::Between(field, ..)
            | Self::Like(field, _)
            | Self::Regex(field, _)
            | Self::IsNull(field) => each(field),
            Self::Not(inner) => inner.visit(each),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.visit(each)),
        }
    }
}
